"""Builds ingest from its settings and runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.db.notify import EVENTS_CHANNEL, Wakeups
from superstoryboard.domain.kinds import KINDS
from superstoryboard.domain.quotas import QUOTAS
from superstoryboard.jobs.event_feed import EventFeed
from superstoryboard.jobs.events import EventLog
from superstoryboard.jobs.feeds import EventFeedPosition
from superstoryboard.jobs.lost_operations import LostOperations
from superstoryboard.jobs.service_tokens import ServiceTokenTable
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import JobStore
from superstoryboard.jobs.storyboards import OwnerRules, Storyboards
from superstoryboard.jobs.sweeps import Sweeper
from superstoryboard.process.lifecycle import Duties, Stop, open_ports, schema_answers, watch_health
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.feed_metrics import FeedMetrics, GapMetrics
from superstoryboard.telemetry.metrics import DependencyMetrics, new_registry
from superstoryboard.telemetry.metrics_page import MetricsPage
from superstoryboard.telemetry.queue_metrics import QueueMetrics, QuotaMetrics, SweepMetrics
from superstoryboard.v1 import generation_service_pb2_grpc, queue_service_pb2_grpc, token_service_pb2_grpc

from .generation import GenerationService
from .queues import QueueService, keep_gauges
from .settings import IngestSettings
from .submissions import Submissions
from .tokens import TokenService

if TYPE_CHECKING:
    from .publish import EventPublisher

STREAM_GRACE_SECONDS = 1.0
"""Calls end in milliseconds; watchers resume elsewhere by sequence."""


async def run(settings: IngestSettings) -> bool:
    """Serve until told to stop. False where a duty failed."""
    stop = Stop()
    stop.listen()
    duties = Duties(stop)
    registry = new_registry()
    dependencies = DependencyMetrics(registry)
    database = await Database.connect(
        settings.database_url.get_secret_value(),
        name="ingest",
        pool_size=settings.database_pool_size,
        dependency=dependencies.of("database"),
    )
    wakeups = Wakeups(settings.listen_url(), EVENTS_CHANNEL)
    feed = EventFeed(database, wakeups, GapMetrics(registry))
    publisher = _publisher(settings, database, feed, registry, dependencies)
    store = JobStore(database)
    page = MetricsPage(settings.metrics_listen, registry)
    rules = OwnerRules(database, settings.owners())
    server = _server(settings, registry, database, feed, rules)
    await open_ports(page, server, duties, reflect=settings.grpc_reflection)
    duties.start("wakeups", wakeups.run())
    duties.start("events", feed.run())
    duties.start("owner-rules", rules.keep_telling())
    duties.start("health", watch_health(server, lambda: schema_answers(database)))
    if publisher is not None:
        duties.start("publish", publisher.run())
    if settings.metrics_listen is not None:
        duties.start("gauges", keep_gauges(store, QueueMetrics(registry)))
    await stop.asked.wait()
    await server.stop(min(settings.drain_seconds, STREAM_GRACE_SECONDS))
    await duties.aclose()
    if publisher is not None:
        await publisher.aclose()
    await database.aclose()
    await page.aclose()
    return not duties.failed


def _server(
    settings: IngestSettings, registry: CollectorRegistry, database: Database, feed: EventFeed, rules: OwnerRules
) -> Server:
    store, steering, storyboards = JobStore(database), Steering(database), Storyboards(database)
    submissions = Submissions(settings.catalogue(), settings)
    tokens = ServiceTokenTable(database)
    server = Server.of(settings, registry, tokens)
    server.add(
        "superstoryboard.v1.GenerationService",
        generation_service_pb2_grpc.add_GenerationServiceServicer_to_server,
        GenerationService(
            store,
            steering,
            EventLog(database, feed),
            submissions,
            watches_per_owner=settings.watches_per_owner,
            quotas=QuotaMetrics(registry, kinds=KINDS, quotas=QUOTAS),
            storyboards=storyboards,
            owner_rules=rules,
        ),
    )
    server.add(
        "superstoryboard.v1.QueueService",
        queue_service_pb2_grpc.add_QueueServiceServicer_to_server,
        QueueService(
            store,
            steering,
            submissions,
            operations=LostOperations(database),
            storyboards=storyboards,
            sweeper=Sweeper(database, settings.ages()),
            sweeps=SweepMetrics(registry),
        ),
    )
    add_tokens = token_service_pb2_grpc.add_TokenServiceServicer_to_server
    server.add("superstoryboard.v1.TokenService", add_tokens, TokenService(tokens))
    return server


def _publisher(
    settings: IngestSettings,
    database: Database,
    feed: EventFeed,
    registry: CollectorRegistry,
    dependencies: DependencyMetrics,
) -> EventPublisher | None:
    if settings.events_amqp_url is None:
        return None
    # Only an ingest that pushes events holds a broker, and its library.
    from superstoryboard.broker.events import EventExchange  # noqa: PLC0415

    from .publish import FEED, EventPublisher  # noqa: PLC0415

    return EventPublisher(
        EventFeedPosition(database, FEED),
        feed,
        EventExchange(settings.events_amqp_url.get_secret_value(), "ingest"),
        dependency=dependencies.of("broker"),
        metrics=FeedMetrics(registry),
    )
