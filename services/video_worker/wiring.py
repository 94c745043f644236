"""Builds video_worker from its settings and runs it."""

from __future__ import annotations

import asyncio
from functools import partial

from services.video_worker.generate import Times, VideoGenerator
from services.video_worker.settings import VideoWorkerSettings
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.work import Gate, GateLimits, WorkQueue
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.providers.veo import VeoGemini
from superstoryboard.runtime.adoption import Adoption
from superstoryboard.runtime.handoff import HandOff
from superstoryboard.runtime.staging import open_staging, staging_accepts
from superstoryboard.runtime.worker import Limits, Worker, new_worker_id
from superstoryboard.runtime.worker_process import Connections, run_once, run_worker
from superstoryboard.telemetry.work_metrics import CallMetrics, HintMetrics, WorkerMetrics

QUEUE = "video_generation_queue"


async def run(settings: VideoWorkerSettings, once: int | None) -> bool:
    """Work until told to stop, or on `once` messages. False where something failed."""
    connections = await Connections.open(settings, "video-worker")
    catalogue = Catalogue.load(settings.model_catalogue)
    model = settings.video_model or catalogue.default_name("video")
    calls = GateLimits(
        settings.video_requests_per_minute, settings.video_requests_per_day, settings.video_running_operations
    )
    gate = Gate(catalogue.get(model).provider, model, calls)
    work = WorkQueue(connections.database, QUEUE, new_worker_id("video-worker"), gate)
    store = await open_staging(settings, connections.dependencies.of("storage"))
    provider = VeoGemini(
        api_key=settings.google_generative_ai_api_key.get_secret_value(),
        base_url=settings.google_gemini_base_url,
        api_version=settings.google_api_version,
        catalogue=catalogue,
    )
    sources = SourceFetcher(storage_origins=settings.storage_origins(), allowed_hosts=settings.allowed_hosts())
    draining = asyncio.Event()
    generator = VideoGenerator(
        work=work,
        adoption=Adoption(work, catalogue, model),
        ledger=Ledger(connections.database),
        sources=sources,
        provider=provider,
        hand_off=HandOff(
            Artifacts(connections.database),
            store,
            settings.staging_bucket,
            connections.broker,
            HintMetrics(connections.registry),
        ),
        metrics=CallMetrics((each.name for each in catalogue.models()), connections.registry),
        times=Times(settings.video_poll_seconds, settings.video_timeout_seconds, settings.video_max_bytes),
        draining=draining,
    )
    limits = Limits(
        settings.video_concurrency,
        settings.video_lease_seconds,
        settings.drain_seconds,
        settings.retry_delay_seconds,
    )
    metrics = WorkerMetrics("video", connections.registry)
    worker = Worker(work, generator.generate, connections.queue_wakeups, limits, draining, metrics=metrics)

    async def close() -> None:
        await provider.aclose()
        await sources.aclose()
        await store.aclose()

    if once is None:
        usable = partial(staging_accepts, store, settings.staging_bucket)
        return await run_worker(worker, connections, settings, "video", usable=usable, close=close)
    done = await run_once(worker, connections, once)
    await close()
    await connections.aclose()
    return done
