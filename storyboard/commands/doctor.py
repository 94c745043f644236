"""`doctor`: checks every setting against the real thing."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.errors import CommandError, ExitCode
from storyboard.terminal.options import Json


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("doctor", rich_help_panel="Operate")(doctor)


def doctor(
    *,
    spend: Annotated[
        bool, typer.Option("--spend", help="Then generate one image with the cheapest model; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --spend: do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Check every setting of this environment against the real systems.

    Nothing is charged or changed, except that one small object is written to the staging bucket and removed again.
    What is not set is not checked. Each line says ok, warning, failed or not set, and what to do.

    [bold]Examples[/bold]

      storyboard doctor

      storyboard doctor --spend
    """
    if yes and not spend:
        raise CommandError(ExitCode.USAGE, ["--yes needs --spend."])
    # Only this command needs drivers of the database, the broker and Storage.
    from storyboard.doctor.command import examine  # noqa: PLC0415

    examine(spend=spend, agreed=yes, as_json=as_json)
