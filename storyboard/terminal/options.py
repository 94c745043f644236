"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.settings import DEFAULT_STORYBOARD

ENTITY_PANEL = "Target"
ASK_PANEL = "Content"
RUN_PANEL = "Execution"

Prompt = Annotated[str, typer.Argument(help="Description of the image or video.", show_default=False)]
Storyboard = Annotated[
    str,
    typer.Option(
        "--storyboard",
        metavar="ID",
        envvar="STORYBOARD_ID",
        help="ID of the storyboard.",
        rich_help_panel=ENTITY_PANEL,
    ),
]
STORYBOARD_DEFAULT = DEFAULT_STORYBOARD
Scene = Annotated[
    str,
    typer.Option("--scene", metavar="ID", help="ID of the scene that gets the asset.", rich_help_panel=ENTITY_PANEL),
]
Character = Annotated[
    str,
    typer.Option(
        "--character", metavar="ID", help="ID of the character that gets the asset.", rich_help_panel=ENTITY_PANEL
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", metavar="NAME", help="Model; default: the installation's.", rich_help_panel=ASK_PANEL),
]
RequestId = Annotated[
    str,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Idempotency key: repeating the command with the same id creates no second job.",
        rich_help_panel=RUN_PANEL,
    ),
]
Labels = Annotated[
    list[str],
    typer.Option("--label", metavar="KEY=VALUE", help="Label; may be repeated.", rich_help_panel=RUN_PANEL),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Print the job id and do not wait.", rich_help_panel=RUN_PANEL),
]
JSON_HELP = "Print only JSON on stdout."
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
