"""`models`: which models may be named, and what each takes, costs and has come to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from storyboard.api.errors import CommandError, ExitCode
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_json, print_table
from superstoryboard.domain.kinds import Plural, kind_of_plural
from superstoryboard.providers.catalogue import Catalogue, CatalogueError, Model

HEADER = ("MODEL", "KIND", "ROUTE", "STATE", "USD", "CHOICES")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("models", rich_help_panel="Operate")(models)


def models(
    kind: Annotated[Plural | None, typer.Argument(help="Only models of this kind.", show_default=False)] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the models with their dates, prices and options.

    Reads the built-in catalogue and the file of MODEL_CATALOGUE. Needs no server.

    [bold]Example[/bold]

      storyboard models videos
    """
    catalogue = _catalogue()
    chosen = catalogue.models(kind_of_plural(kind).name if kind else None)
    if as_json:
        print_json([_record(model, catalogue) for model in chosen])
        return
    print_table(HEADER, (_row(model, catalogue) for model in chosen))


def _catalogue() -> Catalogue:
    path = os.environ.get("MODEL_CATALOGUE", "").strip()
    try:
        return Catalogue.load(Path(path) if path else None)
    except CatalogueError as error:
        raise CommandError(ExitCode.USAGE, [f"MODEL_CATALOGUE: {error}"]) from error


def _advice(model: Model) -> str | None:
    """What somebody who names the model should know."""
    return model.refusal if model.refuse else model.retirement_warning()


def _is_default(model: Model, catalogue: Catalogue) -> bool:
    return model.name == catalogue.default_name(model.kind)


def _row(model: Model, catalogue: Catalogue) -> list[Text]:
    prices = " ".join(f"{size} {amount}" for size, amount in model.price.usd.items())
    price = f"{prices} a {model.price.unit}" if prices else ""
    words = (model.name, model.kind, model.route)
    return [*map(Text, words), _state(model, catalogue), Text(price), Text(" | ".join(_choices(model)))]


def _state(model: Model, catalogue: Catalogue) -> Text:
    instead = f", use {model.replacement}" if model.replacement else ""
    if model.refuse:
        return Text(f"refused{instead}", "red")
    if model.retirement_warning():
        return Text(f"retired {model.retirement_date}{instead}", "yellow")
    return Text("default" if _is_default(model, catalogue) else "")


def _choices(model: Model) -> Iterable[str]:
    if model.durations:
        yield f"{'/'.join(model.durations)} s"
    for choices in (model.resolutions, model.sizes, model.aspect_ratios):
        if choices:
            yield " ".join(choices)


def _record(model: Model, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind,
        "provider": model.provider,
        "route": model.route,
        "default": _is_default(model, catalogue),
        "refused": model.refuse,
        "retired": model.refuse or model.retirement_warning() is not None,
        "retirementDate": model.retirement_date.isoformat() if model.retirement_date else None,
        "replacement": model.replacement,
        "warning": _advice(model),
        "price": {
            "unit": model.price.unit,
            "usd": {size: str(amount) for size, amount in model.price.usd.items()},
            "note": model.price.note,
        },
        "aspectRatios": model.aspect_ratios,
        "sizes": model.sizes,
        "durations": model.durations,
        "resolutions": model.resolutions,
        "resolutionDurations": dict(model.resolution_durations),
        "referenceImagesMax": model.reference_images_max,
        "promptMaxCharacters": model.prompt_max_characters,
    }
