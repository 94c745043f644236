"""Settings: names, bounds and defaults from the settings classes, meaning from .env.example."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from reference.page import ROOT, code, page, table
from superstoryboard.config.settings import Settings


@dataclass
class Setting:
    """A variable, who reads it, and what differs between them."""

    processes: list[str] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    values: str = ""
    secret: bool = False


def settings_page() -> str:
    """docs/reference/settings.md."""
    by_name: dict[str, Setting] = {}
    for process, settings in _classes():
        for name, info in settings.model_fields.items():
            for index, variable in enumerate(_variables(name, info)):
                _add(by_name.setdefault(variable, Setting()), process, info, is_alias=index > 0)
    sections = [
        f"## {title}\n\n{table(('setting', 'read by', 'default', 'values', 'meaning'), rows)}"
        for title, rows in _sections(by_name)
    ]
    introduction = (
        "Every variable of the environment, in the order of [.env.example](../../.env.example). An empty variable "
        "counts as absent. A **secret** can also come from the file that `NAME_FILE` names. Services check all of "
        "theirs at start, or with `--check-config` and nothing else."
    )
    return page("Settings", introduction, *sections)


def _classes() -> Iterator[tuple[str, type[Settings]]]:
    for path in sorted((ROOT / "services").glob("*/settings.py")):
        module = importlib.import_module(f"services.{path.parent.name}.settings")
        yield from (
            (path.parent.name, each)
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, Settings) and each.__module__ == module.__name__
        )


def _variables(name: str, info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return [str(each).upper() for each in names]


def _add(setting: Setting, process: str, info: FieldInfo, *, is_alias: bool) -> None:
    setting.processes.append(process)
    setting.values = setting.values or _values(info)
    setting.secret = setting.secret or SecretStr in (info.annotation, *get_args(info.annotation))
    if not is_alias:
        setting.defaults[process] = "required" if info.is_required() else _default(info.default)


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or value == "":
        return ""
    if isinstance(value, Enum):
        return code(str(value.value))
    return code(value if isinstance(value, str) else json.dumps(value))


def _values(info: FieldInfo) -> str:
    annotation: Any = info.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(code(each) for each in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(code(str(each.value)) for each in annotation)
    words = []
    for limit in info.metadata:
        if isinstance(limit, annotated_types.Ge):
            words.append(f"at least {limit.ge}")
        elif isinstance(limit, annotated_types.Gt):
            words.append(f"more than {limit.gt}")
        elif isinstance(limit, annotated_types.Le):
            words.append(f"at most {limit.le}")
        elif pattern := getattr(limit, "pattern", None):
            words.append(code(pattern))
    return ", ".join(words)


def _sections(by_name: dict[str, Setting]) -> Iterator[tuple[str, list[list[str]]]]:
    title, comment, rows = "", "", list[list[str]]()
    for line in (ROOT / ".env.example").read_text().splitlines():
        if heading := re.match(r"# --- (.*?) -+$", line):
            if title:
                yield title, rows
            title, comment, rows = heading[1], "", []
        elif line.startswith("#"):
            comment += " " + line.removeprefix("#").strip()
        elif assigned := re.match(r"([A-Z_]+)=", line):
            rows.append(_row(assigned[1], by_name.get(assigned[1]), comment))
            comment = ""
    yield title, rows


def _row(name: str, setting: Setting | None, comment: str) -> list[str]:
    readers = [*(setting.processes if setting else []), *_clients(name)]
    if setting is None:
        return [code(name), ", ".join(readers) or "nobody yet", "", "", comment]
    different = set(setting.defaults.values())
    default = (
        different.pop()
        if len(different) == 1
        else ", ".join(f"{process}: {value or 'none'}" for process, value in setting.defaults.items())
    )
    meaning = comment + (" **Secret.**" if setting.secret else "")
    return [code(name), ", ".join(readers), default, setting.values, meaning]


def _clients(name: str) -> list[str]:
    """The programs besides the services whose source names a variable."""
    return [
        folder
        for folder in ("storyboard",)
        if any(f'"{name}"' in path.read_text() for path in (ROOT / folder).rglob("*.py"))
    ]
