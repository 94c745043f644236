"""The process around a worker: duties, health, drain; the same for every kind."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from superstoryboard.broker.artifacts import Broker
from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, QUEUE_CHANNEL, Wakeups
from superstoryboard.domain.kinds import Kind
from superstoryboard.jobs.service_tokens import ServiceTokenTable
from superstoryboard.jobs.store import JobStore
from superstoryboard.process.lifecycle import Duties, Stop, open_ports, schema_answers, watch_health
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import DependencyMetrics, new_registry
from superstoryboard.telemetry.metrics_page import MetricsPage
from superstoryboard.v1 import worker_service_pb2_grpc
from superstoryboard.worker.attempt.staging import Staging
from superstoryboard.worker.loop import Worker
from superstoryboard.worker.service import WorkerService
from superstoryboard.worker.settings import WorkerSettings

STREAM_GRACE_SECONDS = 1.0

log = get_logger("process")


@dataclass
class Connections:
    """What a worker process holds open, and the registry of its metrics."""

    registry: CollectorRegistry
    dependencies: DependencyMetrics
    database: Database
    broker: Broker | None
    queue_wakeups: Wakeups
    event_wakeups: Wakeups

    @classmethod
    async def open(cls, settings: WorkerSettings, name: str) -> Connections:
        """Open the pool; everything else connects in the background."""
        url = settings.database_url.get_secret_value()
        registry = new_registry()
        dependencies = DependencyMetrics(registry)
        dependency = dependencies.of("database")
        amqp_url = settings.amqp_url.get_secret_value() if settings.amqp_url else None
        return cls(
            registry=registry,
            dependencies=dependencies,
            database=await Database.connect(
                url, name=name, pool_size=settings.database_pool_size, dependency=dependency
            ),
            broker=Broker(amqp_url, name, dependencies.of("broker")) if amqp_url else None,
            queue_wakeups=Wakeups(settings.listen_url(), QUEUE_CHANNEL),
            event_wakeups=Wakeups(settings.listen_url(), EVENTS_CHANNEL),
        )

    def start(self, duties: Duties) -> None:
        """Connect what connects in the background."""
        duties.start("queue-wakeups", self.queue_wakeups.run())
        duties.start("event-wakeups", self.event_wakeups.run())
        if self.broker is not None:
            duties.start("broker", self.broker.stay_connected())

    async def healthy(self) -> bool:
        """The worker can do its work: the database answers. Without the broker the rows still pass."""
        return await schema_answers(self.database)

    async def aclose(self) -> None:
        """Close everything."""
        if self.broker is not None:
            await self.broker.aclose()
        await self.database.aclose()


def warn_at_start(*sentences: str | None) -> None:
    """Log what will trouble the jobs of this installation's default model."""
    for sentence in filter(None, sentences):
        log.warning("The default model is retired or about to retire", reason=sentence)


async def run_once(worker: Worker, connections: Connections, quantity: int, staging: Staging) -> bool:
    """Process up to `quantity` messages and end. False where an attempt failed."""
    stop = Stop()
    stop.listen()
    duties = Duties(stop)
    connections.start(duties)
    duties.start("leases", worker.leases.run())
    duties.start("staging", staging.stay_proven())
    attempts = await worker.process(quantity, force=False)
    log.info("Processed messages", processed=len(attempts))
    await duties.aclose()
    return all(attempt.error is None for attempt in attempts)


async def run_worker(
    worker: Worker,
    connections: Connections,
    settings: WorkerSettings,
    kind: Kind,
    *,
    staging: Staging,
) -> bool:
    """Work, once staging is proven, until told to stop, then drain. False where a duty failed."""
    stop = Stop()
    stop.listen()
    duties = Duties(stop)
    page = MetricsPage(settings.metrics_listen, connections.registry)
    server = Server.of(settings, connections.registry, ServiceTokenTable(connections.database))
    server.add(
        "superstoryboard.v1.WorkerService",
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server,
        WorkerService(worker, kind, JobStore(connections.database), connections.event_wakeups),
    )
    await open_ports(page, server, duties, reflect=settings.grpc_reflection)
    connections.start(duties)
    duties.start("health", watch_health(server, connections.healthy))
    duties.start("leases", worker.leases.run())
    duties.start("staging", staging.stay_proven())
    duties.start("work", worker.run())
    await stop.asked.wait()
    await server.set_serving(serving=False)
    await worker.drain()
    await server.stop(STREAM_GRACE_SECONDS)
    await duties.aclose()
    await page.aclose()
    return not duties.failed
