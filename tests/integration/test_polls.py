"""Many operations at once are asked for in turns, out of step, and by so many requests only."""

from __future__ import annotations

import asyncio

import pytest

from services.video_worker.polling import Poller, Times
from superstoryboard.db.database import Database
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import Operation
from superstoryboard.providers.google.rest import QUESTIONS_AT_ONCE, Timeouts
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.telemetry.work_metrics import CallMetrics
from tests.conformance.http_stub import Answer, serve
from tests.conformance.video_routes import KEY, ROUTES, encoded
from tests.integration.helpers import accept, claim_one, video_queue

POLLS = 12
ROUTE = ROUTES[0]


async def test_polls_of_one_moment_come_apart(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait is another one, around the time that is set."""
    waits: list[float] = []
    real = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        if delay is not None and delay < 1:
            waits.append(delay)
        return real(delay)

    monkeypatch.setattr("services.video_worker.polling.asyncio.timeout", noted)
    await accept(database, kind="video")
    job = await claim_one(video_queue(database))
    times = Times(poll_seconds=0.01, timeout_seconds=1e6, max_bytes=1000, gone_seconds=1)
    metrics = CallMetrics([ROUTE.model])
    poller = Poller(
        video_queue(database), Ledger(database), metrics, times, asyncio.Event(), usual_seconds=lambda _: 73
    )
    async with serve() as stub:
        stub.queued[ROUTE.poll_path] = [Answer(body=encoded(ROUTE.running)) for _ in range(POLLS)]
        ROUTE.holds(stub, b"film")
        provider = VeoGemini(api_key=KEY, base_url=stub.url)
        await poller.done(job, Operation(1, ROUTE.name, ROUTE.model, ROUTE.operation, 0), provider)
        await provider.aclose()
    assert len(set(waits)) == len(waits) == POLLS
    assert 0.008 <= min(waits) < max(waits) <= 0.012


async def test_polls_wait_in_front_of_the_connections() -> None:
    """Requests that wait inside httpx would be given up as if the provider did not answer."""
    async with serve() as stub:
        stub.answers[ROUTE.poll_path] = Answer(body=b"{", length=100, stall=True)
        provider = VeoGemini(api_key=KEY, base_url=stub.url, timeouts=Timeouts(poll=60))
        sent: list[str] = []

        async def note(request: object) -> None:
            sent.append(str(request))

        provider._rest._questions.event_hooks = {"request": [note]}
        polls = [asyncio.create_task(provider.poll(ROUTE.operation)) for _ in range(QUESTIONS_AT_ONCE * 3)]
        await stub.wait_asked(QUESTIONS_AT_ONCE)
        assert len(sent) == QUESTIONS_AT_ONCE
        for poll in polls:
            poll.cancel()
        await asyncio.wait(polls)
        await provider.aclose()
