"""Builds video_worker from its settings and runs it."""

from __future__ import annotations

import asyncio

from superstoryboard.domain.kinds import VIDEO
from superstoryboard.domain.media import Media
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.queue import GateLimits
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.omni import Omni
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.google.veo_vertex import VeoVertex
from superstoryboard.providers.routes import OperationRoute
from superstoryboard.telemetry.work_metrics import LostNameMetrics
from superstoryboard.worker.loop import Limits
from superstoryboard.worker.parts import Calls
from superstoryboard.worker.routes import Routes

from .generate import VideoGenerator
from .polling import Times
from .search import OperationSearch
from .settings import VideoWorkerSettings


async def run(settings: VideoWorkerSettings, once: int | None) -> bool:
    """Work until told to stop, or on `once` messages. False where something failed."""
    routes = Routes(Media.VIDEO, settings.catalogue(), providers(settings, settings.catalogue()))
    gate = GateLimits(
        settings.video_requests_per_minute, settings.video_requests_per_day, settings.video_running_operations
    )
    calls = await Calls.open(settings, VIDEO, gate, routes)
    draining = asyncio.Event()
    limits = Limits(
        settings.video_concurrency, settings.video_lease_seconds, settings.drain_seconds, settings.retry_delay_seconds
    )
    return await calls.run(_generator(settings, calls, draining).generate, limits, once, draining)


def _generator(settings: VideoWorkerSettings, calls: Calls[OperationRoute], draining: asyncio.Event) -> VideoGenerator:
    connections = calls.parts.connections
    search = OperationSearch(
        LostOperations(connections.database),
        calls.tools.ledger,
        calls.tools.routes,
        LostNameMetrics(connections.registry),
        settings.lost_operation_search_seconds,
    )
    return VideoGenerator(calls.tools, search, times(settings), draining)


def times(settings: VideoWorkerSettings) -> Times:
    """How operations are polled."""
    return Times(
        poll_seconds=settings.video_poll_seconds,
        timeout_seconds=settings.video_timeout_seconds,
        max_bytes=settings.video_max_bytes,
        gone_seconds=settings.video_gone_seconds,
    )


def providers(settings: VideoWorkerSettings, catalogue: Catalogue) -> dict[str, OperationRoute]:
    """A provider for each route that has credentials; the others are absent, and their jobs wait."""
    routes: dict[str, OperationRoute] = {}
    if settings.google_generative_ai_api_key is not None:
        key = settings.google_generative_ai_api_key.get_secret_value()
        url, version, webhook = (
            settings.google_gemini_base_url,
            settings.google_api_version,
            settings.provider_webhook_url,
        )
        for route, make in (("interactions", Omni), ("veo_gemini", VeoGemini)):
            routes[route] = make(
                api_key=key, base_url=url, api_version=version, catalogue=catalogue, webhook_url=webhook
            )
    if settings.google_vertex_project or settings.google_vertex_api_key is not None:
        express = settings.google_vertex_api_key
        routes["veo_vertex"] = VeoVertex(
            api_key=express.get_secret_value() if express is not None else "",
            project=settings.google_vertex_project,
            location=settings.google_vertex_location,
            base_url=settings.google_vertex_base_url,
            catalogue=catalogue,
        )
    return routes
