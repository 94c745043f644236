"""What every worker is made of, whatever it generates, and how its process ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic

from superstoryboard.domain.kinds import Kind
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Gate, WorkQueue
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.storage.keys import staging_warnings
from superstoryboard.storage.objects import ObjectStore
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics import Dependency
from superstoryboard.telemetry.work_metrics import CallMetrics, HintMetrics, WorkerMetrics
from superstoryboard.worker.assemble import Connections, run_once, run_worker, warn_at_start
from superstoryboard.worker.attempt.generation import Adoption
from superstoryboard.worker.attempt.handoff import HandOff
from superstoryboard.worker.attempt.staging import Staging
from superstoryboard.worker.loop import Generate, Limits, Worker, new_worker_id
from superstoryboard.worker.routes import AnyRoute, Routes
from superstoryboard.worker.settings import WorkerSettings

log = get_logger("staging")


@dataclass(frozen=True)
class Parts(Generic[AnyRoute]):
    """The queue behind its gate, the ledger, staging, source images and routes of one worker process."""

    settings: WorkerSettings
    kind: Kind
    connections: Connections
    work: WorkQueue
    adoption: Adoption
    ledger: Ledger
    store: ObjectStore
    staging: Staging
    sources: SourceFetcher
    routes: Routes[AnyRoute]
    hand_off: HandOff
    call_metrics: CallMetrics
    metrics: WorkerMetrics

    @classmethod
    async def open(cls, settings: WorkerSettings, kind: Kind, gate: Gate, routes: Routes[AnyRoute]) -> Parts[AnyRoute]:
        """Open the pool and the connection to staging; the gate's model is the default of requests which name none."""
        name, catalogue = f"{kind.name}-worker", settings.catalogue()
        connections = await Connections.open(settings, name)
        work = WorkQueue(connections.database, kind.queue, [kind.name], new_worker_id(name), gate)
        store = await _open_staging(settings, connections.dependencies.of("storage"))
        staging = Staging(store, settings.staging_bucket, settings.staging_patience_seconds)
        ledger = Ledger(connections.database, settings.staging_bucket)
        hints = HintMetrics(connections.registry)
        warn_at_start(catalogue.get(gate.model).retirement_warning(), routes.problem(gate.model))
        return cls(
            settings=settings,
            kind=kind,
            connections=connections,
            work=work,
            adoption=Adoption(work, catalogue, gate.model, show_prompts=settings.show_prompts),
            ledger=ledger,
            store=store,
            staging=staging,
            sources=SourceFetcher(
                settings.storage_origins(), settings.allowed_hosts(), staging_bucket=settings.staging_bucket
            ),
            routes=routes,
            hand_off=HandOff(Artifacts(connections.database), ledger, staging, connections.broker, hints),
            call_metrics=CallMetrics((each.name for each in catalogue.models()), connections.registry),
            metrics=WorkerMetrics(kind.name, connections.registry),
        )

    async def run(
        self, generate: Generate, limits: Limits, once: int | None, draining: asyncio.Event | None = None
    ) -> bool:
        """Work until told to stop, or on `once` messages. False where something failed."""
        worker = Worker(
            self.work,
            generate,
            self.connections.queue_wakeups,
            limits,
            draining,
            metrics=self.metrics,
            ready=self.staging.wait_proven,
        )
        if once is None:
            return await run_worker(
                worker, self.connections, self.settings, self.kind, staging=self.staging, close=self._close
            )
        done = await run_once(worker, self.connections, once, self.staging)
        await self._close()
        await self.connections.aclose()
        return done

    async def _close(self) -> None:
        await self.routes.aclose()
        await self.sources.aclose()
        await self.store.aclose()


async def _open_staging(settings: WorkerSettings, dependency: Dependency) -> ObjectStore:
    """Storage as the staging key sees it; says what is not as it should be with that key. Nothing is sent yet."""
    key = settings.supabase_staging_key.get_secret_value()
    for sentence in staging_warnings(key, settings.api_key()):
        log.warning(sentence)
    return await ObjectStore.connect(
        url=settings.supabase_url,
        key=key,
        api_key=settings.api_key(),
        timeout_seconds=settings.storage_timeout_seconds,
        dependency=dependency,
    )
