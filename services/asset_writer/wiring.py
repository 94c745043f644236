"""Builds asset_writer from its settings and runs it."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from superstoryboard.broker.artifacts import Broker
from superstoryboard.db.database import Database
from superstoryboard.db.notify import ARTIFACTS_CHANNEL, Wakeups
from superstoryboard.jobs.artifacts import Artifacts, Ending
from superstoryboard.jobs.cleanups import Cleanups
from superstoryboard.jobs.service_tokens import ServiceTokenTable
from superstoryboard.process.lifecycle import Duties, Stop, open_ports, schema_answers, watch_health
from superstoryboard.rpc.server import Server
from superstoryboard.storage.buckets import IMAGES, VIDEOS, BucketDefinition, ensure_buckets, final_buckets
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import DependencyMetrics, new_registry
from superstoryboard.telemetry.metrics_page import MetricsPage
from superstoryboard.telemetry.work_metrics import WriterMetrics
from superstoryboard.v1 import worker_service_pb2_grpc
from superstoryboard.worker.loop import new_worker_id

from .clean import Cleaner
from .consume import Consumer
from .endings import Endings, Patience
from .settings import AssetWriterSettings
from .status import WriterStatus
from .write import ArtifactWriter, Destination

BUCKET_RETRY_SECONDS = 2.0
STREAM_GRACE_SECONDS = 1.0

log = get_logger("buckets")


class Buckets:
    """Creates missing buckets, trying until Storage answers."""

    def __init__(self, store: ObjectStore, staging_bucket: str, final: tuple[BucketDefinition, ...]) -> None:
        self._store = store
        self._staging_bucket = staging_bucket
        self._final = final
        self.ready = False

    async def ensure(self) -> None:
        """Create what is missing."""
        while not self.ready:
            try:
                await ensure_buckets(self._store, self._staging_bucket, self._final)
            except StorageError as error:
                say = log.error if error.permanent else log.warning
                say("Buckets cannot be checked yet; retrying", kind=error.kind.value, reason=str(error))
                await asyncio.sleep(BUCKET_RETRY_SECONDS)
            else:
                self.ready = True


async def run(settings: AssetWriterSettings) -> bool:
    """Write until told to stop. False where a duty failed."""
    stop = Stop()
    stop.listen()
    duties = Duties(stop)
    registry = new_registry()
    dependencies, metrics = DependencyMetrics(registry), WriterMetrics(registry)
    database = await _database(settings, dependencies)
    store = await _store(settings, dependencies)
    broker = _broker(settings, dependencies)
    wakeups = Wakeups(settings.listen_url(), ARTIFACTS_CHANNEL)
    buckets = Buckets(store, settings.staging_bucket, final_buckets(settings.images_url, settings.videos_url))
    consumer = _consumer(settings, Artifacts(database), store, wakeups=wakeups, broker=broker, metrics=metrics)
    page = MetricsPage(settings.metrics_listen, registry)
    server = _server(settings, registry, database, consumer)

    async def healthy() -> bool:
        return buckets.ready and await schema_answers(database)

    await open_ports(page, server, duties, reflect=settings.grpc_reflection)
    duties.start("wakeups", wakeups.run())
    duties.start("buckets", buckets.ensure())
    duties.start("health", watch_health(server, healthy))
    duties.start("deliveries", consumer.deliver())
    duties.start("poll", consumer.poll())
    duties.start("clean", Cleaner(Cleanups(database), store, settings.clean_after_seconds, metrics).run())
    await stop.asked.wait()
    await server.set_serving(serving=False)
    await consumer.stop(settings.drain_seconds)
    await server.stop(STREAM_GRACE_SECONDS)
    await duties.aclose()
    if broker is not None:
        await broker.aclose()
    await store.aclose()
    await database.aclose()
    await page.aclose()
    return not duties.failed


async def _database(settings: AssetWriterSettings, dependencies: DependencyMetrics) -> Database:
    return await Database.connect(
        settings.database_url.get_secret_value(),
        name="asset-writer",
        pool_size=settings.database_pool_size,
        dependency=dependencies.of("database"),
    )


def _server(
    settings: AssetWriterSettings, registry: CollectorRegistry, database: Database, consumer: Consumer
) -> Server:
    server = Server.of(settings, registry, ServiceTokenTable(database))
    server.add(
        "superstoryboard.v1.WorkerService",
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server,
        WriterStatus(consumer, new_worker_id("asset-writer"), settings.writer_concurrency),
    )
    return server


async def _store(settings: AssetWriterSettings, dependencies: DependencyMetrics) -> ObjectStore:
    return await ObjectStore.connect(
        url=settings.supabase_url,
        key=settings.supabase_secret_key.get_secret_value(),
        timeout_seconds=settings.storage_timeout_seconds,
        public_url=settings.supabase_public_url,
        dependency=dependencies.of("storage"),
    )


def _broker(settings: AssetWriterSettings, dependencies: DependencyMetrics) -> Broker | None:
    if settings.amqp_url is None:
        return None
    return Broker(settings.amqp_url.get_secret_value(), "asset-writer", dependencies.of("broker"))


def _consumer(
    settings: AssetWriterSettings,
    artifacts: Artifacts,
    store: ObjectStore,
    *,
    wakeups: Wakeups,
    broker: Broker | None,
    metrics: WriterMetrics,
) -> Consumer:
    ending = Ending(settings.kv_table, settings.queue_completion)
    destination = Destination(
        public_base_url=settings.supabase_public_url or settings.supabase_url,
        ending=ending,
        url_kinds={IMAGES.id: settings.images_url, VIDEOS.id: settings.videos_url},
        signed_url_seconds=settings.signed_url_seconds,
    )
    endings = Endings(artifacts, ending, Patience(settings.writer_refusals, settings.writer_doubt_seconds))
    return Consumer(
        artifacts=artifacts,
        writer=ArtifactWriter(
            artifacts, store, destination, endings, lease_seconds=settings.writer_lease_seconds, metrics=metrics
        ),
        wakeups=wakeups,
        broker=broker,
        metrics=metrics,
        concurrency=settings.writer_concurrency,
        lease_seconds=settings.writer_lease_seconds,
        poll_seconds=settings.writer_poll_seconds,
    )
