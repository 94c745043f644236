"""Names of the environment variables that settings classes read."""

from __future__ import annotations

from pydantic import AliasChoices

from superstoryboard.config.settings import Settings


def names_of(settings: type[Settings]) -> set[str]:
    """Every variable that a settings class reads, older names included."""
    names: set[str] = set()
    for field, info in settings.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices):
            names |= {str(choice).upper() for choice in alias.choices}
        else:
            names.add((alias if isinstance(alias, str) else field).upper())
    return names
