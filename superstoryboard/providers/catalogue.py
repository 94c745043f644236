"""The model catalogue: which models may be named, and the limits, dates and prices of each.

It is data (`catalogue.toml` beside this module, or a file of the installation), so a new model is one more entry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

Kind = Literal["image", "video"]
Route = Literal["gemini_image", "veo_gemini", "veo_vertex", "interactions"]

SHIPPED = Path(__file__).with_name("catalogue.toml")


class UnknownModel(KeyError):  # noqa: N818 - reads as what it is at every call site
    """No model of that name is in the catalogue."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"model {self.name!r} is not in the catalogue"


class CatalogueError(ValueError):
    """A catalogue file does not make sense; the message names the entry."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars per image or per second of video, by size or resolution."""

    unit: Literal["image", "second"]
    usd: Mapping[str, Decimal]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One entry. `prompt_max_characters` counts Unicode characters; empty tuples mean there is no such choice."""

    name: str
    kind: Kind
    provider: str
    route: Route
    prompt_max_characters: int
    aspect_ratios: tuple[str, ...]
    price: Price
    retirement_date: date | None = None
    replacement: str | None = None
    sizes: tuple[str, ...] = ()
    durations: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    resolution_durations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reference_images_max: int = 0
    refuse: bool = False

    def retirement_warning(self, today: date | None = None) -> str | None:
        """The sentence for logs and `Job.warnings` once the retirement date has passed; `today` is UTC's by default."""
        if self.retirement_date is None or (today or datetime.now(UTC).date()) <= self.retirement_date:
            return None
        return f"model {self.name} passed its retirement date {self.retirement_date}{self._successor}"

    @property
    def refusal(self) -> str:
        """What a caller reads when the model is refused or no longer answers."""
        return f"model {self.name} is no longer available{self._successor}"

    @property
    def _successor(self) -> str:
        return f"; replacement {self.replacement}" if self.replacement else ""


class Catalogue:
    """Every known model by name, and the default of each kind."""

    def __init__(self, models: Mapping[str, Model], *, default_image_model: str, default_video_model: str) -> None:
        self._models = dict(models)
        self.default_image_model = default_image_model
        self.default_video_model = default_video_model

    @classmethod
    def load(cls, path: Path | None = None) -> Catalogue:
        """Read a catalogue file, the shipped one by default.

        Raises:
            CatalogueError: the file is no TOML, or an entry does not make sense.
            OSError: the file cannot be read.
        """
        try:
            data = tomllib.loads((path or SHIPPED).read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogueError(f"the catalogue is not TOML: {error}") from error
        models = [_model(entry) for entry in _list(data, "models")]
        by_name = {model.name: model for model in models}
        if len(by_name) < len(models):
            raise CatalogueError("the catalogue names a model twice")
        defaults = {kind: _default(data, kind, by_name) for kind in get_args(Kind)}
        return cls(by_name, default_image_model=defaults["image"], default_video_model=defaults["video"])

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises:
            UnknownModel: there is none; it is a KeyError.
        """
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModel(name) from None

    def default_name(self, kind: str) -> str:
        """Name of the default model of a kind (`image` or `video`)."""
        return self.default_image_model if kind == "image" else self.default_video_model

    def models(self, kind: str | None = None) -> tuple[Model, ...]:
        """All models, or those of one kind, in the order of the file."""
        return tuple(model for model in self._models.values() if kind in (None, model.kind))


def _list(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = data.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CatalogueError(f"the catalogue has no list {name!r}")
    return cast("list[Mapping[str, Any]]", entries)


def _default(data: Mapping[str, Any], kind: Kind, models: Mapping[str, Model]) -> str:
    defaults = data.get("defaults")
    name = defaults.get(kind) if isinstance(defaults, dict) else None
    if not isinstance(name, str) or name not in models or models[name].kind != kind:
        raise CatalogueError(f"the default {kind} model of the catalogue is {name!r}, which is no {kind} model of it")
    return name


def _model(entry: Mapping[str, Any]) -> Model:
    fields = dict(entry)
    try:
        price = fields.pop("price")
        usd = {size: Decimal(amount) for size, amount in price["usd"].items()}
        fields["price"] = Price(unit=price["unit"], usd=MappingProxyType(usd), note=price.get("note", ""))
        by_resolution = fields.pop("resolution_durations", {})
        fields["resolution_durations"] = MappingProxyType({name: tuple(all_) for name, all_ in by_resolution.items()})
        frozen: dict[str, Any] = {
            name: tuple(all_) if isinstance(all_, list) else all_ for name, all_ in fields.items()
        }
        model = Model(**frozen)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CatalogueError(f"entry {entry.get('name')!r} of the catalogue: {error!r}") from error
    _check(model)
    return model


def _check(model: Model) -> None:
    """A wrong entry is found at start, not by the first job that names it."""
    if model.kind not in get_args(Kind) or model.route not in get_args(Route):
        raise CatalogueError(f"entry {model.name!r} of the catalogue: unknown kind or route")
    numbers = (model.prompt_max_characters, model.reference_images_max)
    lists = (model.aspect_ratios, model.sizes, model.durations, model.resolutions, *model.resolution_durations.values())
    texts = (model.name, model.provider, model.replacement or "", *(item for each in lists for item in each))
    if not (
        all(type(number) is int and number >= 0 for number in numbers)
        and all(isinstance(each, tuple) for each in lists)
        and all(isinstance(text, str) for text in texts)
        and isinstance(model.retirement_date, date | None)
        and isinstance(model.refuse, bool)
    ):
        raise CatalogueError(f"entry {model.name!r} of the catalogue: a value has the wrong type")
