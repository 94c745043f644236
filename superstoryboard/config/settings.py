"""Settings from the environment: typed, checked at start, secrets also from files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from superstoryboard.config.env_file import load_or_exit

Port = Annotated[str, Field(pattern=r"^\S+:\d+$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]

LARGEST_TIME = 2_000_000
"""Seconds or days of a setting: more is no time that gRPC's timers, in milliseconds, or dates of Postgres can hold."""
LARGEST_NUMBER = 2**31 - 1


class SettingsError(Exception):
    """Settings are missing or wrong; the message has a line for each."""


class SecretFiles(EnvSettingsSource):
    """Reads `NAME` from the file that `NAME_FILE` points to."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """The stripped text of the file, or nothing where `NAME_FILE` is not set."""
        for _, name, _ in self._extract_field_info(field, field_name):
            path = os.environ.get(f"{name.upper()}_FILE")
            if path:
                return Path(path).read_text().strip(), field_name, False
        return None, field_name, False


class Settings(BaseSettings):
    """What every process reads. An empty variable counts as absent."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr
    database_listen_url: SecretStr | None = None
    database_pool_size: int = Field(default=8, ge=1, le=100)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @field_validator("*", mode="after")
    @classmethod
    def check_number(cls, value: Any) -> Any:
        """Numbers stay within what a timer, a date or a counter can hold; times are the settings with a fraction."""
        if isinstance(value, float) and not value <= LARGEST_TIME:
            raise ValueError(f"must be a number of at most {LARGEST_TIME}")
        if isinstance(value, int) and value > LARGEST_NUMBER:
            raise ValueError(f"must be at most {LARGEST_NUMBER}")
        return value

    def listen_url(self) -> str | None:
        """The direct connection for LISTEN, where one is configured."""
        return self.database_listen_url.get_secret_value() if self.database_listen_url else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then files."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, SecretFiles(settings_cls)

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: names every missing or wrong variable, never a value.
        """
        cls._check_secret_files()
        try:
            return cls.model_validate({})
        except ValidationError as error:
            # What our own rules raise, pydantic gives a prefix.
            problems = [(e["loc"], e["msg"].removeprefix("Value error, ")) for e in error.errors()]
            lines = [f"{'.'.join(map(str, place)).upper()}: {problem}" for place, problem in problems]
            raise SettingsError("\n".join(lines)) from None

    @classmethod
    def _check_secret_files(cls) -> None:
        names = set(cls.model_fields)
        for field in cls.model_fields.values():
            if isinstance(field.validation_alias, AliasChoices):
                names |= {str(choice) for choice in field.validation_alias.choices}
        for name in sorted(names):
            variable = f"{name.upper()}_FILE"
            path = os.environ.get(variable)
            if path and not os.access(path, os.R_OK):
                raise SettingsError(f"{variable}: the file cannot be read")


AnySettings = TypeVar("AnySettings", bound=Settings)


def read_or_exit(kind: type[AnySettings], *, check_only: bool = False) -> AnySettings:
    """Read the settings of a process, those of its `.env` included, which the environment goes before.

    Prints what is wrong and exits 2, or with check_only exits 0 where all is well.
    """
    file = load_or_exit()
    try:
        settings = kind.read()
    except SettingsError as error:
        also = f" (from the environment and {file})" if file else ""
        sys.stderr.write(f"The settings are not valid{also}:\n{error}\n")
        sys.exit(2)
    if check_only:
        sys.stdout.write("The settings are valid.\n")
        sys.exit(0)
    return settings
