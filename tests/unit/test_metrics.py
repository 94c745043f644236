"""What is counted, how it is named, and the page that shows it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from devstack.stack.ports import free_port
from superstoryboard.domain.errors import CallOutcome, ErrorClass, JobError, ProviderFailure
from superstoryboard.domain.quotas import QUOTAS
from superstoryboard.telemetry.feed_metrics import FeedMetrics, GapMetrics
from superstoryboard.telemetry.key_metrics import ServiceTokenMetrics, TokenKeyMetrics
from superstoryboard.telemetry.metrics import DependencyMetrics, RpcMetrics, new_registry
from superstoryboard.telemetry.metrics_page import MetricsPage
from superstoryboard.telemetry.queue_metrics import QueueMetrics, QuotaMetrics, SweepMetrics
from superstoryboard.telemetry.tls_metrics import TlsMetrics
from superstoryboard.telemetry.work_metrics import (
    CallMetrics,
    HintMetrics,
    LostNameMetrics,
    WorkerMetrics,
    WriterMetrics,
)
from superstoryboard.worker.attempt.paid_calls import counted
from tests.scrape import Samples, scrape

ROOT = Path(__file__).resolve().parents[2]
MODEL = "veo-3.1-generate-preview"
LABELS = {"method", "quota", "code", "dependency", "duty", "outcome", "queue", "kind", "error_class", "reason", "model"}
QUEUE = {
    "name": "q",
    "depth": 3,
    "due": 2,
    "oldest_age_seconds": None,
    "in_flight": 1,
    "staged": 0,
    "waiting_owners": 2,
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return new_registry()


@pytest.fixture
async def address(registry: CollectorRegistry) -> AsyncIterator[str]:
    """Where a page of the registry is."""
    listen = f"127.0.0.1:{free_port()}"
    page = MetricsPage(listen, registry)
    await page.start()
    yield listen
    await page.aclose()


async def read(address: str) -> Samples:
    return await asyncio.to_thread(scrape, address)


def shown(registry: CollectorRegistry) -> Samples:
    """What the page would show."""
    return Samples(generate_latest(registry).decode())


def everything() -> CollectorRegistry:
    """Every metric that some process has."""
    registry = CollectorRegistry()
    RpcMetrics(registry)
    TokenKeyMetrics(registry)
    ServiceTokenMetrics(registry)
    DependencyMetrics(registry)
    SweepMetrics(registry)
    QueueMetrics(registry)
    QuotaMetrics(registry)
    FeedMetrics(registry)
    GapMetrics(registry)
    WorkerMetrics(registry=registry)
    CallMetrics([MODEL], registry)
    HintMetrics(registry)
    LostNameMetrics(registry)
    WriterMetrics(registry)
    TlsMetrics(registry)
    return registry


def unpaid() -> ProviderFailure:
    return ProviderFailure(JobError(ErrorClass.REFUSED, "SAFETY", "it says no"), CallOutcome.UNPAID)


async def test_the_page_stops_with_its_process_and_its_address_is_free_again(registry: CollectorRegistry) -> None:
    listen = f"[::1]:{free_port()}"
    for _ in range(2):
        page = MetricsPage(listen, registry)
        await page.start()
        assert "process_resident_memory_bytes" in (await read(listen)).text
        await page.aclose()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("::1", int(listen.rpartition(":")[2]))


async def test_a_taken_address_is_said_at_the_start(registry: CollectorRegistry, address: str) -> None:
    with pytest.raises(OSError, match=f"cannot serve metrics on {address}"):
        await MetricsPage(address, registry).start()
    with pytest.raises(OSError, match="cannot serve metrics"):
        await MetricsPage("127.0.0.1:99999", registry).start()


async def test_without_an_address_there_is_no_page(registry: CollectorRegistry) -> None:
    page = MetricsPage(None, registry)
    await page.start()
    await page.aclose()


async def test_a_scraper_that_goes_away_does_no_harm(address: str) -> None:
    _, writer = await asyncio.open_connection(*address.split(":"))
    writer.transport.abort()
    await read(address)


def test_paid_calls_by_what_is_known_of_them(registry: CollectorRegistry) -> None:
    calls = CallMetrics([MODEL], registry)
    with counted(calls, MODEL):
        pass
    with pytest.raises(ProviderFailure), counted(calls, MODEL):
        raise unpaid()
    with pytest.raises(asyncio.CancelledError), counted(calls, "a-model-of-the-caller"):
        raise asyncio.CancelledError
    series = shown(registry)
    assert series("provider_calls_total", model=MODEL, outcome="ACCEPTED") == 1
    assert series("provider_calls_total", model=MODEL, outcome="UNPAID") == 1
    assert series("provider_calls_total", model="other", outcome="UNKNOWN") == 1
    assert series("provider_call_seconds_count", model=MODEL) == 2
    assert "a-model-of-the-caller" not in series.text
    assert "_created" not in series.text


def test_an_outage_is_counted_once_and_ends_with_what_was_begun_later(registry: CollectorRegistry) -> None:
    storage = DependencyMetrics(registry).of("storage")
    storage.away()
    storage.away()
    storage.back(begun=0.0)
    series = shown(registry)
    assert series("dependency_outages_total", dependency="storage") == 1
    assert series("dependency_away", dependency="storage") == 1
    storage.back()
    assert shown(registry)("dependency_away", dependency="storage") == 0


def test_queues_are_shown_or_nothing_is(registry: CollectorRegistry) -> None:
    queues = QueueMetrics(registry)
    queues.show([QUEUE | {"dead_lettered": 4, "paused": True}])
    series = shown(registry)
    assert series("queue_depth_messages", queue="q") == 3
    assert series("queue_dead_letter_jobs", queue="q") == 4
    assert series("queue_oldest_message_age_seconds", queue="q") == 0
    assert series("queue_paused", queue="q") == 1
    assert series("queue_waiting_owners", queue="q") == 2
    queues.forget()
    assert shown(registry)("queue_depth_messages", queue="q") is None


def test_sweeps_are_counted_by_duty(registry: CollectorRegistry) -> None:
    sweeps = SweepMetrics(registry)
    sweeps.swept({"adopt_messages": 2, "bury_overdue": 0})
    sweeps.swept({"adopt_messages": 1, "bury_overdue": 0})
    sweeps.swept({})
    series = shown(registry)
    assert series("sweep_changed_total", duty="adopt_messages") == 3
    assert series("sweep_changed_total", duty="bury_overdue") == 0
    assert (series("sweep_runs_total", outcome="ran"), series("sweep_runs_total", outcome="busy")) == (2, 1)


def test_refusals_are_counted_by_kind_and_quota(registry: CollectorRegistry) -> None:
    quotas = QuotaMetrics(registry, kinds=["image", "video"], quotas=QUOTAS)
    quotas.refused("image", "PER_DAY", 3)
    series = shown(registry)
    assert series("quota_refusals_total", kind="image", quota="PER_DAY") == 3
    assert series("quota_refusals_total", kind="video", quota="PER_DAY") == 0


def test_names_follow_the_conventions_and_labels_are_of_few_values() -> None:
    for family in everything().collect():
        assert family.name.startswith("superstoryboard_")
        assert {label for sample in family.samples for label in sample.labels} <= LABELS | {"le"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_the_runbook_lists_every_metric() -> None:
    kinds = {"counter": "_total", "gauge": "", "histogram": ""}
    known = {f"{family.name}{kinds[family.type]}" for family in everything().collect()}
    text = (ROOT / "docs" / "RUNBOOK.md").read_text()
    assert set(re.findall(r"^\| `(superstoryboard_\w+)", text, re.MULTILINE)) == known
