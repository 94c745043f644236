"""What every process counts for Prometheus: one registry, its calls, and outages of what it depends on.

A group of metrics without a registry counts for nobody. Labels are words of the API, of the database or of the
catalogue: never an id, the name of a person or an address.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def new_registry() -> CollectorRegistry:
    """The registry of a process, which holds the memory, time and open files of the process already."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every first one, of no use here
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class RpcMetrics:
    """Calls that the gRPC server answered."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry
        self._calls = Counter(
            "superstoryboard_rpc_calls_total", "Completed calls", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "superstoryboard_rpc_call_seconds",
            "Duration of unary calls",
            ["method"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )

    def answered(self, method: str, code: str, seconds: float) -> None:
        """A call with one answer ended. `method` is the path of a method that the server offers."""
        self._calls.labels(_short(method), code).inc()
        self._seconds.labels(_short(method)).observe(seconds)

    def streamed(self, method: str, code: str) -> None:
        """A stream ended; how long it lasted is up to the caller."""
        self._calls.labels(_short(method), code).inc()


class Dependency:
    """Whether one dependency answers this process."""

    def __init__(self, outages: Counter, away: Gauge) -> None:
        self._outages = outages
        self._away = away
        self._away_since: float | None = None
        away.set(0)

    def away(self) -> None:
        """It does not answer; repeated until it is back, this is one outage."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._outages.inc()
            self._away.set(1)

    def back(self, begun: float | None = None) -> None:
        """It answers what was begun at this time (monotonic); what was under way when others failed says nothing."""
        if self._away_since is not None and (begun is None or begun > self._away_since):
            self._away_since = None
            self._away.set(0)


class DependencyMetrics:
    """Outages of what a process depends on."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._outages = Counter(
            "superstoryboard_dependency_outages_total",
            "Times that the dependency became unavailable",
            ["dependency"],
            registry=registry,
        )
        self._away = Gauge(
            "superstoryboard_dependency_away",
            "1 while the dependency is unavailable",
            ["dependency"],
            registry=registry,
        )

    def of(self, name: str) -> Dependency:
        """One of them: `database`, `broker` or `storage`."""
        return Dependency(self._outages.labels(name), self._away.labels(name))


def _short(method: str) -> str:
    """`GenerationService/GetJob` of `/superstoryboard.v1.GenerationService/GetJob`."""
    return method.rpartition(".")[2]
