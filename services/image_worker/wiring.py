"""Builds image_worker from its settings and runs it."""

from __future__ import annotations

from superstoryboard.domain.kinds import IMAGE
from superstoryboard.domain.media import Media
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Gate, GateLimits, WorkQueue
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.providers.routes import AnswerRoute
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.telemetry.work_metrics import CallMetrics, HintMetrics, WorkerMetrics
from superstoryboard.worker.assemble import Connections, run_once, run_worker, warn_at_start
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.attempt.staging import Staging, open_staging
from superstoryboard.worker.loop import Limits, Worker, new_worker_id
from superstoryboard.worker.routes import Routes

from .generate import ImageGenerator
from .settings import ImageWorkerSettings

QUEUE = "image_generation_queue"


async def run(settings: ImageWorkerSettings, once: int | None) -> bool:
    """Work until told to stop, or on `once` messages. False where something failed."""
    connections = await Connections.open(settings, "image-worker")
    catalogue = settings.catalogue()
    model = settings.image_model or catalogue.default_name(IMAGE.name)
    calls = GateLimits(settings.image_requests_per_minute, settings.image_requests_per_day)
    gate = Gate(catalogue.get(model).provider, model, calls)
    work = WorkQueue(connections.database, QUEUE, new_worker_id("image-worker"), gate)
    store = await open_staging(settings, connections.dependencies.of("storage"))
    staging = Staging(store, settings.staging_bucket, settings.staging_patience_seconds)
    ledger = Ledger(connections.database, settings.staging_bucket)
    routes = Routes(Media.IMAGE, catalogue, providers(settings, catalogue))
    warn_at_start(catalogue.get(model).retirement_warning(), routes.problem(model))
    sources = SourceFetcher(storage_origins=settings.storage_origins(), allowed_hosts=settings.allowed_hosts())
    generator = ImageGenerator(
        work=work,
        adoption=Adoption(work, catalogue, model),
        ledger=ledger,
        sources=sources,
        routes=routes,
        hand_off=HandOff(
            Artifacts(connections.database),
            ledger,
            staging,
            connections.broker,
            HintMetrics(connections.registry),
        ),
        metrics=CallMetrics((each.name for each in catalogue.models()), connections.registry),
        timeout_seconds=settings.image_timeout_seconds,
    )
    limits = Limits(
        settings.image_concurrency,
        settings.image_lease_seconds,
        settings.drain_seconds,
        settings.retry_delay_seconds,
    )
    metrics = WorkerMetrics(IMAGE.name, connections.registry)
    worker = Worker(
        work, generator.generate, connections.queue_wakeups, limits, metrics=metrics, ready=staging.wait_proven
    )

    async def close() -> None:
        await routes.aclose()
        await sources.aclose()
        await store.aclose()

    if once is None:
        return await run_worker(worker, connections, settings, IMAGE, staging=staging, close=close)
    done = await run_once(worker, connections, once, staging)
    await close()
    await connections.aclose()
    return done


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
