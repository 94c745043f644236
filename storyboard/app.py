"""The commands, put together."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from storyboard.commands import (
    batch,
    cancel_retry,
    dead_letters,
    generate,
    jobs,
    models,
    operate,
    owners,
    process,
    queues,
    quotas,
    record_operation,
    roles,
    sweep,
    tokens,
)
from storyboard.commands import doctor as examine
from storyboard.terminal.output import print_line

EPILOG = """
[bold]Settings[/bold]

INGEST_ADDRESS (127.0.0.1:50051), IMAGE_WORKER_ADDRESS (127.0.0.1:50052), VIDEO_WORKER_ADDRESS (127.0.0.1:50053),
STORYBOARD_TOKEN or STORYBOARD_TOKEN_FILE, STORYBOARD_ID

TLS, where an address is https://HOST:PORT or has port 443: STORYBOARD_TLS_CA (own CA), STORYBOARD_TLS_CERT and
STORYBOARD_TLS_KEY (client certificate)

[bold]Exit codes[/bold]

0  all succeeded

1  a job failed, was dead-lettered or cancelled, or a batch item was invalid

2  wrong usage or invalid argument

3  service not reachable

130  interrupted; the job continues
"""


def _print_version(requested: bool) -> None:
    if requested:
        print_line(_version())
        raise typer.Exit


def _version() -> str:
    try:
        return version("superstoryboard")
    except PackageNotFoundError:
        # The image has the repository's files, not the wheel.
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
        return str(project["version"])


def storyboard(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Generate images and videos for storyboards, charged once, never lost.

    [bold]Examples[/bold]

      storyboard image "A lighthouse at dusk" --scene scene-001

      storyboard video "Waves break" --scene scene-001 --duration 4

      storyboard batch-images examples/test-prompts.json

      storyboard watch --storyboard test-storyboard
    """


def build_app() -> typer.Typer:
    """All commands, in the order in which help shows them."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=EPILOG)(storyboard)
    commands = (
        generate,
        batch,
        jobs,
        cancel_retry,
        owners,
        process,
        queues,
        dead_letters,
        record_operation,
        models,
        operate,
        examine,
        sweep,
        tokens,
        quotas,
        roles,
    )
    for module in commands:
        module.register(app)
    return app
