"""What workers and the asset_writer count: attempts, paid calls, hand-offs and writes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WRITE_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
WORK_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90, 120, 180, 240, 360, 600)
OPERATION_BUCKETS = (5, 10, 20, 30, 60, 90, 120, 180, 240, 360, 600, 1800, 7200)

OTHER = "other"
"""A model that the catalogue does not know."""


class WorkerMetrics:
    """Attempts, leases and gates of a worker; the simple series of `kind` begin at zero."""

    def __init__(self, kind: str | None = None, registry: CollectorRegistry | None = None) -> None:
        counter = partial(Counter, registry=registry)
        self._attempts = counter(
            "superstoryboard_worker_attempts_total",
            "Ended attempts by the job's state (LOST: another worker took over) and the class of the error",
            ["kind", "outcome", "error_class"],
        )
        self._seconds = Histogram(
            "superstoryboard_worker_attempt_seconds",
            "Duration of attempts",
            ["kind"],
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self._running = Gauge(
            "superstoryboard_worker_running_jobs", "Jobs in this process", ["kind"], registry=registry
        )
        self._lost = counter("superstoryboard_worker_lost_leases_total", "Leases that this process lost", ["kind"])
        self._releases = counter(
            "superstoryboard_worker_releases_total", "Jobs released without spending an attempt", ["kind", "reason"]
        )
        self._gates = counter(
            "superstoryboard_worker_gates_closed_total",
            "Gates that this process closed, by class of error",
            ["kind", "reason"],
        )
        if kind is not None:
            self._running.labels(kind)
            self._lost.labels(kind)

    def started(self, kind: str) -> None:
        """An attempt started."""
        self._running.labels(kind).inc()

    def left(self, kind: str) -> None:
        """A job is no longer in this process."""
        self._running.labels(kind).dec()

    def ended(self, kind: str, state: str | None, error_class: str | None, seconds: float) -> None:
        """An attempt ended in this state of its job, or None where the claim was lost."""
        self._attempts.labels(kind, state or "LOST", error_class or "NONE").inc()
        self._seconds.labels(kind).observe(seconds)

    def lease_lost(self, kind: str) -> None:
        """A lease ended although this process held it."""
        self._lost.labels(kind).inc()

    def released(self, kind: str, reason: str) -> None:
        """A job went back unspent: `drained`, `gate_closed` or `not_started`."""
        self._releases.labels(kind, reason).inc()

    def gate_closed(self, kind: str, error_class: str) -> None:
        """This process closed the gate of a model."""
        self._gates.labels(kind, error_class).inc()


class CallMetrics:
    """Paid calls of the provider."""

    def __init__(self, models: Iterable[str], registry: CollectorRegistry | None = None) -> None:
        self._models = frozenset(models)
        self._calls = Counter(
            "superstoryboard_provider_calls_total",
            "Calls by outcome: ACCEPTED, UNPAID, PAID without a result, UNKNOWN",
            ["model", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "superstoryboard_provider_call_seconds",
            "Time until a call's response or timeout",
            ["model"],
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self._operations = Histogram(
            "superstoryboard_provider_operation_seconds",
            "Time from the acceptance of an operation until it was done",
            ["model"],
            buckets=OPERATION_BUCKETS,
            registry=registry,
        )

    def ended(self, model: str, outcome: str, seconds: float) -> None:
        """A call ended."""
        self._calls.labels(self._known(model), outcome).inc()
        self._seconds.labels(self._known(model)).observe(seconds)

    def operation_done(self, model: str, seconds: float) -> None:
        """An operation brought its result."""
        self._operations.labels(self._known(model)).observe(seconds)

    def _known(self, model: str) -> str:
        return model if model in self._models else OTHER


class LostNameMetrics:
    """Submits whose operation's name did not come back with the answer."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._names = Counter(
            "superstoryboard_lost_names_total",
            "Submits without a response, by whether a search found their operation: yes or no",
            ["route", "found"],
            registry=registry,
        )

    def ended(self, route: str, *, found: bool) -> None:
        """A search ended, or there was nothing to search in."""
        self._names.labels(route, "yes" if found else "no").inc()


class HintMetrics:
    """ArtifactReady from workers to the asset_writer."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._hints = Counter(
            "superstoryboard_handoff_hints_total",
            "ArtifactReady by outcome: published or not_published",
            ["outcome"],
            registry=registry,
        )

    def sent(self, *, published: bool) -> None:
        """The broker took a hint, or did not."""
        self._hints.labels("published" if published else "not_published").inc()


class WriterMetrics:
    """Artifacts that the asset_writer took, and what became of them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._deliveries = Counter(
            "superstoryboard_writer_deliveries_total",
            "Deliveries by outcome: taken (led to a write) or not_taken",
            ["outcome"],
            registry=registry,
        )
        self._artifacts = Counter(
            "superstoryboard_writer_artifacts_total",
            "Writes by outcome: written, out_of_date, given_back, buried, postponed, failed",
            ["kind", "outcome"],
            registry=registry,
        )
        self._bytes = Counter(
            "superstoryboard_writer_written_bytes_total", "Bytes of written artifacts", ["kind"], registry=registry
        )
        self._seconds = Histogram(
            "superstoryboard_writer_write_seconds",
            "Duration of writes, from the lease to the end",
            ["kind"],
            buckets=WRITE_BUCKETS,
            registry=registry,
        )
        self._cleaned = Counter(
            "superstoryboard_writer_cleaned_artifacts_total",
            "Artifacts whose unused objects were removed",
            registry=registry,
        )

    def delivered(self, *, accepted: bool) -> None:
        """A delivery led to a write, or to nothing: out of date, or the database is away."""
        self._deliveries.labels("taken" if accepted else "not_taken").inc()

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A write ended."""
        self._artifacts.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)

    def stored(self, kind: str, size_bytes: int) -> None:
        """The bytes of an artifact are an asset now."""
        self._bytes.labels(kind).inc(size_bytes)

    def cleaned(self, artifacts: int) -> None:
        """Objects of so many artifacts were removed."""
        self._cleaned.inc(artifacts)
