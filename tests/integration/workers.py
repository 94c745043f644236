"""Workers as their processes build them, on a test's database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from prometheus_client import CollectorRegistry

from services.asset_writer.endings import Endings, Patience
from services.asset_writer.write import ArtifactWriter, Destination
from services.image_worker.generate import ImageGenerator
from services.video_worker.generate import VideoGenerator
from services.video_worker.polling import Times
from services.video_worker.search import OperationSearch
from superstoryboard.db.database import Database
from superstoryboard.db.notify import QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.media import Media
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.providers.routes import OperationRoute
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.work_metrics import CallMetrics, HintMetrics, LostNameMetrics, WriterMetrics
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.attempt.staging import Staging
from superstoryboard.worker.loop import Limits, Worker
from superstoryboard.worker.routes import Routes
from superstoryboard.worker.tools import Tools
from tests.emulators.storage_fixture import STAGING_KEY
from tests.integration.helpers import ENDING, image_queue, video_queue

CATALOGUE = Catalogue.load()
NOWHERE = "http://127.0.0.1:9"
GONE_SECONDS = 0.1
SEARCH_SECONDS = 900.0
LIMITS = Limits(concurrency=1, lease_seconds=60, drain_seconds=5, retry_delay_seconds=30)
BUCKET = "artifact-staging"


@asynccontextmanager
async def video_worker(
    database: Database,
    routes: Routes[OperationRoute],
    registry: CollectorRegistry | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[Worker]:
    """A video worker by these routes, which end with it; its staging is away."""
    work, registry, draining = video_queue(database, "second"), registry or CollectorRegistry(), asyncio.Event()
    store = await ObjectStore.connect(url=NOWHERE, key="staging-key", timeout_seconds=1)
    sources = SourceFetcher(storage_origins=[], allowed_hosts=[])
    ledger = Ledger(database)
    tools = Tools(
        work=work,
        adoption=Adoption(work, CATALOGUE, CATALOGUE.default_name("video")),
        ledger=ledger,
        sources=sources,
        routes=routes,
        hand_off=HandOff(Artifacts(database), ledger, Staging(store, BUCKET, 60), None, HintMetrics(registry)),
        metrics=CallMetrics((model.name for model in CATALOGUE.models()), registry),
    )
    search = OperationSearch(LostOperations(database), ledger, routes, LostNameMetrics(registry), SEARCH_SECONDS)
    generator = VideoGenerator(tools, search, Times(0.01, 60.0, 1_000_000, GONE_SECONDS), draining)
    yield Worker(work, generator.generate, Wakeups(None, QUEUE_CHANNEL), limits, draining)
    await sources.aclose()
    await store.aclose()
    await routes.aclose()


@asynccontextmanager
async def image_worker(
    database: Database,
    provider: GeminiImages,
    storage_url: str,
    registry: CollectorRegistry,
    limits: Limits = LIMITS,
    *,
    origins: Sequence[str] = (),
) -> AsyncIterator[Worker]:
    """An image worker with this provider, which ends with it."""
    work = image_queue(database, "second")
    store = await ObjectStore.connect(url=storage_url, key=STAGING_KEY, timeout_seconds=60)
    sources = SourceFetcher(storage_origins=origins, allowed_hosts=[])
    ledger = Ledger(database)
    tools = Tools(
        work=work,
        adoption=Adoption(work, CATALOGUE, CATALOGUE.default_name("image")),
        ledger=ledger,
        sources=sources,
        routes=Routes(Media.IMAGE, CATALOGUE, {"gemini_image": provider}),
        hand_off=HandOff(Artifacts(database), ledger, Staging(store, BUCKET, 60), None, HintMetrics(registry)),
        metrics=CallMetrics((model.name for model in CATALOGUE.models()), registry),
    )
    generator = ImageGenerator(tools, timeout_seconds=60)
    yield Worker(work, generator.generate, Wakeups(None, QUEUE_CHANNEL), limits)
    await provider.aclose()
    await sources.aclose()
    await store.aclose()


async def write_all(database: Database, store: ObjectStore, url: str, artifact_id: UUID | None = None) -> None:
    """What the asset_writer does with every artifact that is staged, or with one."""
    artifacts = Artifacts(database)
    destination = Destination(url, ENDING)
    writer = ArtifactWriter(
        artifacts, store, destination, Endings(artifacts, ENDING, Patience()), lease_seconds=60, metrics=WriterMetrics()
    )
    for claimed in await artifacts.claim(artifact_id=artifact_id, quantity=5, lease_seconds=60, min_age_seconds=0):
        await writer.write(claimed)
