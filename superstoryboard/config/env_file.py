"""Settings from a file `.env`: what the environment of the process lacks is read from the nearest one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from dotenv import dotenv_values

NAME = ".env"
VARIABLE = "ENV_FILE"
"""Names the file to read instead of the nearest one; empty: none is read."""
# Names of one setting: where the environment has one of them, none is taken from a file.
SAME = (
    {"SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY"},
    {"SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY"},
)


class EnvFileError(Exception):
    """The file cannot be used; the message names it and holds nothing of what is in it."""


def load_env_file(environment: MutableMapping[str, str] = os.environ) -> Path | None:
    """Add to the environment what it lacks, from one file; the environment always wins.

    The file is the one that ENV_FILE names, else `.env` in the working directory, else in the nearest directory above.

    Raises:
        EnvFileError: it cannot be read, or another user could have written it.
    """
    path = _path(environment)
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise EnvFileError(f"{path} cannot be read: {type(error).__name__}") from error
    present = {name for name, value in environment.items() if value}
    for name, value in values.items():
        if value and not present.intersection(_forms(name)):
            environment[name] = value
    return path


def _path(environment: MutableMapping[str, str]) -> Path | None:
    named = environment.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    env_file = next((path for path in _candidates() if path.is_file()), None)
    if env_file is not None and env_file.stat().st_uid not in (os.geteuid(), 0):
        raise EnvFileError(f"{env_file} belongs to another user; set {VARIABLE} to its path to read it")
    return env_file


def _candidates() -> Iterator[Path]:
    folder = Path.cwd()
    return (each / NAME for each in (folder, *folder.parents))


def _forms(name: str) -> set[str]:
    """Every variable that sets the same as this one, files of secrets included."""
    plain = name.removesuffix("_FILE")
    names = next((group for group in SAME if plain in group), {plain})
    return names | {f"{each}_FILE" for each in names}


def load_or_exit() -> Path | None:
    """As `load_env_file`; prints why a file cannot be used, and exits 2."""
    try:
        return load_env_file()
    except EnvFileError as error:
        sys.stderr.write(f"The settings are not valid:\n{error}\n")
        sys.exit(2)
