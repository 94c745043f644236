"""What ingest counts: sweeps, refusals by quotas, and the queues as the database describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

QUEUE_GAUGES = {
    "depth": ("depth_messages", "Messages in the queue"),
    "due": ("due_messages", "Messages that a worker could claim now"),
    "oldest_age_seconds": ("oldest_message_age_seconds", "Age of the oldest message, 0 if there is none"),
    "in_flight": ("in_flight_jobs", "Jobs claimed by workers"),
    "staged": ("staged_jobs", "Jobs waiting for the asset_writer"),
    "dead_lettered": ("dead_letter_jobs", "Dead-lettered jobs"),
    "waiting_owners": ("waiting_owners", "Owners who have a job that a worker could claim now"),
    "paused": ("paused", "1 while claiming is stopped"),
}
"""By column of queue_status_v1."""


class SweepMetrics:
    """Sweeps that ingest was asked for."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._runs = Counter(
            "superstoryboard_sweep_runs_total",
            "Sweeps by outcome: ran, or busy because another sweep was running",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("ran", "busy"):
            self._runs.labels(outcome)
        self._changed = Counter(
            "superstoryboard_sweep_changed_total",
            "Rows that each duty of the sweep changed",
            ["duty"],
            registry=registry,
        )
        self._failed = Counter(
            "superstoryboard_sweep_failed_total", "Failures of each duty of the sweep", ["duty"], registry=registry
        )

    def swept(self, changed: Mapping[str, int], failed: Iterable[str] = ()) -> None:
        """A sweep ended with these counts by duty, none where another sweep was running, and these duties failed."""
        for duty in failed:
            self._failed.labels(duty).inc()
        self._runs.labels("ran" if changed else "busy").inc()
        for duty, count in changed.items():
            self._changed.labels(duty).inc(count)


class QuotaMetrics:
    """Submits that a quota refused."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, kinds: Iterable[str] = (), quotas: Iterable[str] = ()
    ) -> None:
        self._refusals = Counter(
            "superstoryboard_quota_refusals_total",
            "Jobs that ingest refused, by the quota that was used up",
            ["kind", "quota"],
            registry=registry,
        )
        for kind, quota in product(kinds, quotas):
            self._refusals.labels(kind, quota)

    def refused(self, kind: str, quota: str, count: int) -> None:
        """So many jobs of this kind were refused by this quota."""
        self._refusals.labels(kind, quota).inc(count)


class QueueMetrics:
    """The queues as the database last described them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._gauges = {
            column: Gauge(f"superstoryboard_queue_{name}", text, ["queue"], registry=registry)
            for column, (name, text) in QUEUE_GAUGES.items()
        }

    def show(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over rows of queue_status_v1."""
        for row in rows:
            for column, gauge in self._gauges.items():
                gauge.labels(row["name"]).set(float(row[column] or 0))

    def forget(self) -> None:
        """Show nothing rather than what may no longer be true."""
        for gauge in self._gauges.values():
            gauge.clear()
