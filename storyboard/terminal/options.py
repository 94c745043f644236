"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.settings import DEFAULT_STORYBOARD

ENTITY_PANEL = "What it is for"
ASK_PANEL = "What to make"
RUN_PANEL = "How to run it"

Prompt = Annotated[str, typer.Argument(help="What to make, in words.", show_default=False)]
Storyboard = Annotated[
    str,
    typer.Option(
        "--storyboard",
        metavar="ID",
        envvar="STORYBOARD_ID",
        help="Storyboard that the scene or character belongs to.",
        rich_help_panel=ENTITY_PANEL,
    ),
]
STORYBOARD_DEFAULT = DEFAULT_STORYBOARD
Scene = Annotated[
    str, typer.Option("--scene", metavar="ID", help="Scene that gets the result.", rich_help_panel=ENTITY_PANEL)
]
Character = Annotated[
    str,
    typer.Option("--character", metavar="ID", help="Character that gets the result.", rich_help_panel=ENTITY_PANEL),
]
Model = Annotated[
    str,
    typer.Option("--model", metavar="NAME", help="Model; else the installation's default.", rich_help_panel=ASK_PANEL),
]
RequestId = Annotated[
    str,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="The same id never makes a second job, however often the command is repeated.",
        rich_help_panel=RUN_PANEL,
    ),
]
Labels = Annotated[
    list[str],
    typer.Option("--label", metavar="KEY=VALUE", help="Label of your own; may be repeated.", rich_help_panel=RUN_PANEL),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Print the job id and do not wait.", rich_help_panel=RUN_PANEL),
]
JSON_HELP = "Print JSON on stdout and nothing else there."
Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
RunJson = Annotated[bool, typer.Option("--json", help=JSON_HELP, rich_help_panel=RUN_PANEL)]


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Labels from KEY=VALUE words.

    Raises:
        typer.BadParameter: a word without = or with nothing before it.
    """
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels
