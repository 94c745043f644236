"""What every worker is made of, whatever it generates, and how its process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic

from superstoryboard.domain.kinds import Kind
from superstoryboard.jobs.artifacts import Artifacts
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Gate, GateLimits, WorkQueue
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
from superstoryboard.worker.loop import Generate, Limits, Worker, at_once, new_worker_id
from superstoryboard.worker.routes import AnyRoute, Routes
from superstoryboard.worker.settings import WorkerSettings
from superstoryboard.worker.tools import Tools

log = get_logger("staging")


Close = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Parts:
    """The queue, staging, hand-off and metrics of one worker process: all that a kind without charge needs."""

    settings: WorkerSettings
    kind: Kind
    connections: Connections
    work: WorkQueue
    adoption: Adoption
    ledger: Ledger
    store: ObjectStore
    staging: Staging
    hand_off: HandOff
    metrics: WorkerMetrics

    @classmethod
    async def open(cls, settings: WorkerSettings, kind: Kind, gate: Gate | None = None) -> Parts:
        """Open the pool and the connection to staging; a `gate` has the default model of requests which name none."""
        name, gate = f"{kind.name}-worker", gate or Gate()
        connections = await Connections.open(settings, name)
        work = WorkQueue(connections.database, kind.queue, [kind.name], new_worker_id(name), gate)
        store = await _open_staging(settings, connections.dependencies.of("storage"))
        staging = Staging(store, settings.staging_bucket, settings.staging_patience_seconds)
        ledger = Ledger(connections.database, settings.staging_bucket)
        hints = HintMetrics(connections.registry)
        return cls(
            settings=settings,
            kind=kind,
            connections=connections,
            work=work,
            adoption=Adoption(work, settings.catalogue(), gate.model, show_prompts=settings.show_prompts),
            ledger=ledger,
            store=store,
            staging=staging,
            hand_off=HandOff(Artifacts(connections.database), ledger, staging, connections.broker, hints),
            metrics=WorkerMetrics(kind.name, connections.registry),
        )

    async def run(
        self,
        generate: Generate,
        limits: Limits,
        once: int | None,
        draining: asyncio.Event | None = None,
        *,
        close: Close = at_once,
    ) -> bool:
        """Work until told to stop, or on `once` messages; then `close` too. False where something failed."""
        worker = Worker(
            self.work,
            generate,
            self.connections.queue_wakeups,
            limits,
            draining,
            metrics=self.metrics,
            ready=self.staging.wait_proven,
        )
        try:
            if once is not None:
                return await run_once(worker, self.connections, once, self.staging)
            return await run_worker(worker, self.connections, self.settings, self.kind, staging=self.staging)
        finally:
            await close()
            await self.store.aclose()
            await self.connections.aclose()


@dataclass(frozen=True)
class Calls(Generic[AnyRoute]):
    """A worker of a charged kind: its `parts`, and the `tools` of its attempts."""

    parts: Parts
    tools: Tools[AnyRoute]

    @classmethod
    async def open(
        cls, settings: WorkerSettings, kind: Kind, limits: GateLimits, routes: Routes[AnyRoute]
    ) -> Calls[AnyRoute]:
        """Open the parts behind the gate of the kind's default model, and warn where that model cannot be called."""
        catalogue = settings.catalogue()
        model = catalogue.get(settings.model_of(kind) or catalogue.default_name(kind.name))
        parts = await Parts.open(settings, kind, Gate(model.provider, model.name, limits))
        warn_at_start(model.retirement_warning(), routes.problem(model.name))
        tools = Tools(
            work=parts.work,
            adoption=parts.adoption,
            ledger=parts.ledger,
            sources=SourceFetcher(
                settings.storage_origins(), settings.allowed_hosts(), staging_bucket=settings.staging_bucket
            ),
            routes=routes,
            hand_off=parts.hand_off,
            metrics=CallMetrics((each.name for each in catalogue.models()), parts.connections.registry),
        )
        return cls(parts, tools)

    async def run(
        self, generate: Generate, limits: Limits, once: int | None, draining: asyncio.Event | None = None
    ) -> bool:
        """As `Parts.run`."""
        return await self.parts.run(generate, limits, once, draining, close=self._close)

    async def _close(self) -> None:
        await self.tools.routes.aclose()
        await self.tools.sources.aclose()


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
