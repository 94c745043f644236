"""What an attempt of a charged kind works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import WorkQueue
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.telemetry.work_metrics import CallMetrics
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.routes import AnyRoute, Routes


@dataclass(frozen=True, kw_only=True)
class Tools(Generic[AnyRoute]):
    """The queue and what reads its jobs, the ledger and the routes of calls, source images, and the hand-off."""

    work: WorkQueue
    adoption: Adoption
    ledger: Ledger
    sources: SourceFetcher
    routes: Routes[AnyRoute]
    hand_off: HandOff
    metrics: CallMetrics
