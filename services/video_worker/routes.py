"""Which provider a video goes by: that of its model's route, or of the route that an operation was ordered by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.providers.catalogue import Catalogue, UnknownModel
from superstoryboard.providers.video import VideoProvider

NEEDS = {
    "interactions": "GOOGLE_GENERATIVE_AI_API_KEY",
    "veo_gemini": "GOOGLE_GENERATIVE_AI_API_KEY",
    "veo_vertex": "GOOGLE_VERTEX_API_KEY, or GOOGLE_VERTEX_PROJECT with Google credentials",
}
"""The setting without which a route has no provider."""


class VideoRoutes:
    """The providers that have credentials, by route."""

    def __init__(self, catalogue: Catalogue, providers: Mapping[str, VideoProvider]) -> None:
        self._catalogue = catalogue
        self._providers = dict(providers)

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

    def provider(self, route: str) -> VideoProvider:
        """The provider of a route.

        Raises:
            JobFailure: CONFIG, naming the setting that is missing.
        """
        if route not in self._providers:
            raise _unusable("PROVIDER_NOT_CONFIGURED", self._missing(route))
        return self._providers[route]

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

    @staticmethod
    def _missing(route: str) -> str:
        if route not in NEEDS:
            return f"this worker makes no videos by route {route}"
        return f"videos by route {route} need the setting {NEEDS[route]}"


def _unusable(code: str, message: str) -> JobFailure:
    return JobFailure(JobError(ErrorClass.CONFIG, code, message))
