"""Builds image_worker from its settings and runs it."""

from __future__ import annotations

from superstoryboard.domain.kinds import IMAGE
from superstoryboard.domain.media import Media
from superstoryboard.jobs.queue import GateLimits
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.providers.routes import AnswerRoute
from superstoryboard.worker.loop import Limits
from superstoryboard.worker.parts import Calls
from superstoryboard.worker.routes import Routes

from .generate import ImageGenerator
from .settings import ImageWorkerSettings


async def run(settings: ImageWorkerSettings, once: int | None) -> bool:
    """Work until told to stop, or on `once` messages. False where something failed."""
    routes = Routes(Media.IMAGE, settings.catalogue(), providers(settings, settings.catalogue()))
    gate = GateLimits(settings.image_requests_per_minute, settings.image_requests_per_day)
    calls = await Calls.open(settings, IMAGE, gate, routes)
    generator = ImageGenerator(calls.tools, settings.image_timeout_seconds)
    limits = Limits(
        settings.image_concurrency, settings.image_lease_seconds, settings.drain_seconds, settings.retry_delay_seconds
    )
    return await calls.run(generator.generate, limits, once)


def providers(settings: ImageWorkerSettings, catalogue: Catalogue) -> dict[str, AnswerRoute]:
    """A provider for each route."""
    return {
        "gemini_image": GeminiImages(
            api_key=settings.google_generative_ai_api_key.get_secret_value(),
            base_url=settings.google_gemini_base_url,
            api_version=settings.google_api_version,
            catalogue=catalogue,
        )
    }
