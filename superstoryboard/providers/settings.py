"""Settings about models, checked against the catalogue: its file, and the models that requests may leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import PrivateAttr, model_validator

from superstoryboard.config.server import ServerSettings
from superstoryboard.domain.kinds import Kind, charged_kinds
from superstoryboard.providers.catalogue import Catalogue, CatalogueError


class ModelSettings(ServerSettings):
    """A file that adds and overrides entries of the shipped catalogue. Subclasses name the models of their kinds."""

    model_catalogue: Path | None = None
    _catalogue: Catalogue = PrivateAttr()

    @model_validator(mode="after")
    def check_models(self) -> Self:
        """The catalogue makes sense, and the models that the settings name are in it."""
        try:
            self._catalogue = Catalogue.load(self.model_catalogue)
        except CatalogueError as error:
            raise ValueError(f"MODEL_CATALOGUE: {error}") from None
        for kind in charged_kinds():
            name = self.model_of(kind)
            known = [model.name for model in self._catalogue.models(kind.name)]
            if name and name not in known:
                raise ValueError(f"{kind.model_setting}: the catalogue has no {kind.name} model of that name")
        return self

    def model_of(self, kind: Kind) -> str:
        """The model that the settings name for requests which name none; empty where they name none of this kind."""
        return str(getattr(self, kind.model_setting.lower(), ""))

    def catalogue(self) -> Catalogue:
        """The catalogue, as it was read with the settings."""
        return self._catalogue
