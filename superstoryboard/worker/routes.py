"""Which route a job goes by: that of its model, or that which an operation was ordered by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Generic, TypeVar

from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.domain.media import Media
from superstoryboard.providers.catalogue import Catalogue, UnknownModel
from superstoryboard.providers.routes import ROUTES, AnswerRoute, OperationRoute

AnyRoute = TypeVar("AnyRoute", AnswerRoute, OperationRoute)


class Routes(Generic[AnyRoute]):
    """The providers of results of one media type that have credentials, by route."""

    def __init__(self, media: Media, catalogue: Catalogue, providers: Mapping[str, AnyRoute]) -> None:
        self._media = media
        self._catalogue = catalogue
        self._providers: dict[str, AnyRoute] = dict(providers)

    def route_of(self, model: str) -> str:
        """The route of a model, which has a provider: to be asked before anything is written or sent.

        Raises:
            JobFailure: CONFIG, naming what is missing.
        """
        try:
            route = self._catalogue.get(model).route
        except UnknownModel as error:
            raise _unusable("MODEL_NOT_IN_CATALOGUE", f"the worker's model catalogue has no model {model}") from error
        self.provider(route)
        return route

    def provider(self, route: str) -> AnyRoute:
        """The provider of a route.

        Raises:
            JobFailure: CONFIG, naming the setting that is missing.
        """
        if route not in self._providers:
            raise _unusable("PROVIDER_NOT_CONFIGURED", self._missing(route))
        return self._providers[route]

    def usual_seconds(self, model: str) -> int:
        """How long an operation of a model usually runs; 0 where that is not known."""
        try:
            return self._catalogue.get(model).usual_seconds
        except UnknownModel:
            return 0

    def problem(self, model: str) -> str | None:
        """Why a model could not be called now, as a sentence; None where it could."""
        try:
            self.route_of(model)
        except JobFailure as failure:
            return failure.error.message
        return None

    async def aclose(self) -> None:
        """Close every provider."""
        await asyncio.gather(*(provider.aclose() for provider in self._providers.values()))

    def _missing(self, route: str) -> str:
        known = ROUTES.get(route)
        if known is None or known.makes is not self._media or not known.needs:
            return f"this worker does not generate {self._media}s by route {route}"
        return f"{self._media}s by route {route} need the setting {known.needs}"


def _unusable(code: str, message: str) -> JobFailure:
    return JobFailure(JobError(ErrorClass.CONFIG, code, message))
