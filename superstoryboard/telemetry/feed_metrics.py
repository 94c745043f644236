"""What ingest counts of the events that it pushes to a broker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class FeedMetrics:
    """Events published, and how far the feed is behind the log."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._published = Counter(
            "superstoryboard_feed_published_events_total",
            "Events that the broker confirmed, including events published again",
            registry=registry,
        )
        self._lag = Gauge("superstoryboard_feed_lag_events", "Events that are not published yet", registry=registry)
        self._holds = Gauge(
            "superstoryboard_feed_publishing", "1 while this process publishes the events", registry=registry
        )

        self._lost = Counter(
            "superstoryboard_feed_lost_events_total",
            "Events that retention deleted before they were published",
            registry=registry,
        )

    def lost(self, events: int) -> None:
        """So many numbers of the log were deleted unpublished."""
        self._lost.inc(events)

    def published(self, events: int) -> None:
        """The broker confirmed so many events."""
        self._published.inc(events)

    def stands(self, lag: int) -> None:
        """The feed is so many sequences behind the log."""
        self._lag.set(max(0, lag))

    def holds(self, *, held: bool) -> None:
        """This process publishes, or does not."""
        self._holds.set(1 if held else 0)


class GapMetrics:
    """Gaps of the event log that were passed before it was known that nothing fills them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._passed = Counter(
            "superstoryboard_events_passed_gaps_total",
            "Times that watchers continued although a transaction that may have written events was open",
            registry=registry,
        )

    def passed(self) -> None:
        """Watchers went on."""
        self._passed.inc()
