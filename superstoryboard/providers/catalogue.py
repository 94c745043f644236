"""The model catalogue: which models may be named, and the limits, dates and prices of each.

It is data: `catalogue.toml` beside this module, and a file of the installation that adds and overrides entries. A new
model is one more entry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from superstoryboard.domain.kinds import KINDS, charged_kinds
from superstoryboard.domain.media import Media
from superstoryboard.providers.routes import ROUTES

SHIPPED = Path(__file__).with_name("catalogue.toml")


_DEFAULTS = {
    "default_aspect_ratio": ("aspect_ratios", "16:9"),
    "default_duration": ("durations", "8"),
    "default_resolution": ("resolutions", "720p"),
}
"""By field: the choices that a default is one of, and the usual one."""


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
    """One entry. `prompt_max_characters` counts Unicode characters; empty tuples mean there is no such choice.

    The defaults are what a request that names none gets: where the entry names none, the usual one if the model has it,
    else the first of the model's own. Each is among the model's choices, and they go together. `usual_seconds` is how
    long an operation usually runs, for what watchers are told of its progress; 0 where that is not known.
    """

    name: str
    kind: str
    provider: str
    route: str
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
    usual_seconds: int = 0
    refuse: bool = False
    default_aspect_ratio: str = ""
    default_duration: str = ""
    default_resolution: str = ""

    def retirement_warning(self, today: date | None = None) -> str | None:
        """The sentence for logs and `Job.warnings` once the retirement date has passed; `today` is UTC's by default."""
        if self.retirement_date is None or (today or datetime.now(UTC).date()) <= self.retirement_date:
            return None
        return f"model {self.name} passed its retirement date {self.retirement_date}{self._successor}"

    @property
    def refusal(self) -> str:
        """What a caller reads when the model is refused or no longer answers."""
        if self.refuse or self.retirement_date or self.replacement:
            return f"model {self.name} is no longer available{self._successor}"
        return f"the provider does not offer model {self.name} to this API key"

    @property
    def _successor(self) -> str:
        return f"; replacement {self.replacement}" if self.replacement else ""


_FIELDS = frozenset(each.name for each in fields(Model))
_REQUIRED = frozenset(each.name for each in fields(Model) if each.default is each.default_factory is MISSING)


class Catalogue:
    """Every known model by name, and the default of each kind."""

    def __init__(self, models: Mapping[str, Model], defaults: Mapping[str, str]) -> None:
        self._models = dict(models)
        self._defaults = dict(defaults)

    @classmethod
    def load(cls, path: Path | None = None) -> Catalogue:
        """The shipped catalogue; entries and defaults of the file at `path` are added to it and win over it.

        An entry of the same name replaces the shipped one as a whole, in its place.

        Raises:
            CatalogueError: the file cannot be read, is no TOML, or an entry does not make sense.
        """
        models, defaults = _read(SHIPPED)
        if path is not None:
            more, other_defaults = _read(path)
            models |= more
            defaults |= other_defaults
        return cls(
            models, {kind.name: _default(defaults.get(kind.name), kind.name, models) for kind in charged_kinds()}
        )

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises:
            UnknownModel: there is none; it is a KeyError.
        """
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModel(name) from None

    def refusal(self, name: str) -> str:
        """What a caller reads when the provider answers 404 about a model; empty where the name is not ours."""
        return self._models[name].refusal if name in self._models else ""

    def default_name(self, kind: str) -> str:
        """Name of the default model of a kind that is charged."""
        return self._defaults[kind]

    def models(self, kind: str | None = None) -> tuple[Model, ...]:
        """All models, or those of one kind, in the order of the file."""
        return tuple(model for model in self._models.values() if kind in (None, model.kind))


def _read(path: Path) -> tuple[dict[str, Model], dict[str, object]]:
    """The entries by name, and the defaults that the file names."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CatalogueError(f"the catalogue {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"the catalogue {path} is not TOML: {error}") from error
    unknown = sorted(data.keys() - {"models", "defaults"})
    entries, defaults = data.get("models", []), data.get("defaults", {})
    if unknown or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CatalogueError(f"the catalogue {path} may contain only [[models]] and [defaults]")
    names = [kind.name for kind in charged_kinds()]
    if not isinstance(defaults, dict) or not defaults.keys() <= set(names):
        raise CatalogueError(
            f"[defaults] of the catalogue {path} may name one model for each of {', '.join(names)}, and nothing else"
        )
    models = [_model(entry) for entry in entries]
    by_name = {model.name: model for model in models}
    if len(by_name) < len(models):
        raise CatalogueError(f"the catalogue {path} names a model twice")
    return by_name, defaults


def _default(name: object, kind: str, models: Mapping[str, Model]) -> str:
    if not isinstance(name, str) or name not in models or models[name].kind != kind:
        raise CatalogueError(f"the default {kind} model of the catalogue is {name!r}, which is no {kind} model of it")
    return name


def _model(entry: Mapping[str, Any]) -> Model:
    given = dict(entry)
    try:
        price = given.pop("price")
        usd = {size: Decimal(amount) for size, amount in price["usd"].items()}
        given["price"] = Price(unit=price["unit"], usd=MappingProxyType(usd), note=price.get("note", ""))
        by_resolution = given.pop("resolution_durations", {})
        given["resolution_durations"] = MappingProxyType({name: tuple(all_) for name, all_ in by_resolution.items()})
        frozen: dict[str, Any] = {name: tuple(all_) if isinstance(all_, list) else all_ for name, all_ in given.items()}
        model = Model(**_with_defaults(_complete(frozen)))
    except KeyError as error:
        raise CatalogueError(f"entry {entry.get('name')!r} of the catalogue: {error} is missing") from error
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise CatalogueError(f"entry {entry.get('name')!r} of the catalogue: a value has the wrong type") from error
    _check(model)
    return model


def _with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """The entry with a default for each choice that it has."""
    for name, (choices, usual) in _DEFAULTS.items():
        own = given.get(choices, ())
        if not given.get(name) and isinstance(own, tuple) and own:
            given[name] = usual if usual in own else own[0]
    return given


def _complete(given: dict[str, Any]) -> dict[str, Any]:
    unknown, missing = sorted(given.keys() - _FIELDS), sorted(_REQUIRED - given.keys())
    if unknown or missing:
        parts = [f"{', '.join(names)} {what}" for names, what in ((missing, "missing"), (unknown, "unknown")) if names]
        raise CatalogueError(f"entry {given.get('name')!r} of the catalogue: {'; '.join(parts)}")
    return given


def _check(model: Model) -> None:
    """A wrong entry is found at start, not by the first job that names it."""
    kind, route = KINDS.get(model.kind), ROUTES.get(model.route)
    if kind is None or not kind.charged or route is None:
        raise CatalogueError(f"entry {model.name!r} of the catalogue: unknown kind or route")
    if kind.media not in {None, route.makes}:
        raise CatalogueError(
            f"entry {model.name!r} of the catalogue: route {model.route} does not generate {model.kind}s"
        )
    if not route.needs and not model.refuse:
        raise CatalogueError(f"entry {model.name!r} of the catalogue: route {model.route} needs refuse = true")
    numbers = (model.prompt_max_characters, model.reference_images_max, model.usual_seconds)
    lists = (model.aspect_ratios, model.sizes, model.durations, model.resolutions, *model.resolution_durations.values())
    defaults = (model.default_aspect_ratio, model.default_duration, model.default_resolution)
    texts = (model.name, model.provider, model.replacement or "", *defaults, *(item for each in lists for item in each))
    if not (
        all(type(number) is int and number >= 0 for number in numbers)
        and all(isinstance(each, tuple) for each in lists)
        and all(isinstance(text, str) for text in texts)
        and isinstance(model.retirement_date, date | None)
        and not isinstance(model.retirement_date, datetime)
        and model.price.unit in {"image", "second"}
        and isinstance(model.refuse, bool)
    ):
        raise CatalogueError(f"entry {model.name!r} of the catalogue: a value has the wrong type")
    _check_defaults(model)


def _makes_videos(model: Model) -> bool:
    return ROUTES[model.route].makes is Media.VIDEO


def _check_defaults(model: Model) -> None:
    """A request that names nothing asks for what the model has."""
    where = f"entry {model.name!r} of the catalogue"
    for name, (choices, _) in _DEFAULTS.items():
        default, own = getattr(model, name), getattr(model, choices)
        if _makes_videos(model) and not own:
            raise CatalogueError(f"{where}: a video model needs {choices}")
        if default and default not in own:
            raise CatalogueError(f"{where}: {name} {default!r} is not among its {choices}")
    if _makes_videos(model) and not all(each.isascii() and each.isdecimal() for each in model.durations):
        raise CatalogueError(f"{where}: durations are whole seconds")
    lengths = model.resolution_durations.get(model.default_resolution)
    if lengths is not None and model.default_duration not in lengths:
        raise CatalogueError(f"{where}: resolution {model.default_resolution} has no duration {model.default_duration}")
