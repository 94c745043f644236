"""Builds video_worker from its settings and runs it."""

from __future__ import annotations

import asyncio

from superstoryboard.domain.kinds import VIDEO
from superstoryboard.domain.media import Media
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.queue import Gate, GateLimits, WorkQueue
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.omni import Omni
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.google.veo_vertex import VeoVertex
from superstoryboard.providers.routes import OperationRoute
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.telemetry.work_metrics import CallMetrics, HintMetrics, LostNameMetrics, WorkerMetrics
from superstoryboard.worker.assemble import Connections, run_once, run_worker, warn_at_start
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.attempt.staging import Staging, open_staging
from superstoryboard.worker.loop import Limits, Worker, new_worker_id
from superstoryboard.worker.routes import Routes

from .generate import VideoGenerator
from .polling import Times
from .search import OperationSearch
from .settings import VideoWorkerSettings

QUEUE = "video_generation_queue"


async def run(settings: VideoWorkerSettings, once: int | None) -> bool:
    """Work until told to stop, or on `once` messages. False where something failed."""
    connections = await Connections.open(settings, "video-worker")
    catalogue = settings.catalogue()
    model = settings.video_model or catalogue.default_name(VIDEO.name)
    calls = GateLimits(
        settings.video_requests_per_minute, settings.video_requests_per_day, settings.video_running_operations
    )
    gate = Gate(catalogue.get(model).provider, model, calls)
    work = WorkQueue(connections.database, QUEUE, new_worker_id("video-worker"), gate)
    store = await open_staging(settings, connections.dependencies.of("storage"))
    staging = Staging(store, settings.staging_bucket, settings.staging_patience_seconds)
    ledger = Ledger(connections.database, settings.staging_bucket)
    routes = Routes(Media.VIDEO, catalogue, providers(settings, catalogue))
    warn_at_start(catalogue.get(model).retirement_warning(), routes.problem(model))
    sources = SourceFetcher(storage_origins=settings.storage_origins(), allowed_hosts=settings.allowed_hosts())
    draining = asyncio.Event()
    generator = VideoGenerator(
        work=work,
        adoption=Adoption(work, catalogue, model),
        ledger=ledger,
        sources=sources,
        routes=routes,
        operation_search=OperationSearch(
            LostOperations(connections.database),
            ledger,
            routes,
            LostNameMetrics(connections.registry),
            settings.lost_operation_search_seconds,
        ),
        hand_off=HandOff(
            Artifacts(connections.database),
            ledger,
            staging,
            connections.broker,
            HintMetrics(connections.registry),
        ),
        metrics=CallMetrics((each.name for each in catalogue.models()), connections.registry),
        times=times(settings),
        draining=draining,
    )
    limits = Limits(
        settings.video_concurrency,
        settings.video_lease_seconds,
        settings.drain_seconds,
        settings.retry_delay_seconds,
    )
    metrics = WorkerMetrics(VIDEO.name, connections.registry)
    worker = Worker(
        work,
        generator.generate,
        connections.queue_wakeups,
        limits,
        draining,
        metrics=metrics,
        ready=staging.wait_proven,
    )

    async def close() -> None:
        await routes.aclose()
        await sources.aclose()
        await store.aclose()

    if once is None:
        return await run_worker(worker, connections, settings, VIDEO, staging=staging, close=close)
    done = await run_once(worker, connections, once, staging)
    await close()
    await connections.aclose()
    return done


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
    found: dict[str, OperationRoute] = {}
    if settings.google_generative_ai_api_key is not None:
        key = settings.google_generative_ai_api_key.get_secret_value()
        url, version, told = settings.google_gemini_base_url, settings.google_api_version, settings.provider_webhook_url
        for route, make in (("interactions", Omni), ("veo_gemini", VeoGemini)):
            found[route] = make(api_key=key, base_url=url, api_version=version, catalogue=catalogue, webhook_url=told)
    if settings.google_vertex_project or settings.google_vertex_api_key is not None:
        express = settings.google_vertex_api_key
        found["veo_vertex"] = VeoVertex(
            api_key=express.get_secret_value() if express is not None else "",
            project=settings.google_vertex_project,
            location=settings.google_vertex_location,
            base_url=settings.google_vertex_base_url,
            catalogue=catalogue,
        )
    return found
