"""Steps of the tests about videos and the routes that they go by."""

from __future__ import annotations

from typing import Any

import pytest

from services.video_worker.settings import VideoWorkerSettings
from services.video_worker.wiring import providers
from superstoryboard.db.database import Database
from superstoryboard.domain.media import Media
from superstoryboard.domain.routes import RouteShape
from superstoryboard.jobs.ledger import Ledger
from superstoryboard.jobs.queue import ClaimedJob, Gate
from superstoryboard.providers.routes import OperationRoute
from superstoryboard.worker.attempts import Attempt
from superstoryboard.worker.routes import Routes
from tests.conformance.http_stub import Answer
from tests.conformance.video_routes import KEY, ROUTES, VideoRoute, encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, claim_one, expire_lease, video_queue
from tests.integration.workers import CATALOGUE, video_worker

OMNI, VERTEX = ROUTES[2], ROUTES[1]
CALLS = "select route, state, paid, operation_name from superstoryboard.provider_calls order by id"
SETTINGS = {
    "DATABASE_URL": "postgresql://unused",
    "AUTH_DISABLED": "true",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_STAGING_KEY": "staging-key",
}
GONE = Answer(404, encoded({"error": {"code": 404, "status": "NOT_FOUND", "message": "gone"}}))
GEMINI, EXPRESS = "GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_VERTEX_API_KEY"


async def attempt(database: Database, routes: Routes[OperationRoute]) -> Attempt:
    """One attempt of a worker whose own default model is the catalogue's."""
    async with video_worker(database, routes) as worker:
        (done,) = await worker.process(1, force=False)
    return done


def ending(done: Attempt) -> tuple[str | None, str]:
    """The state that an attempt left its job in, and the code of its error."""
    return done.state, done.error.code if done.error else ""


def routes_with(url: str, patch: pytest.MonkeyPatch, *keys: str) -> Routes[OperationRoute]:
    """What the worker builds of its environment, with these keys and no others."""
    for name in (GEMINI, EXPRESS, "GOOGLE_VERTEX_PROJECT", "MODEL_CATALOGUE", "VIDEO_MODEL"):
        patch.delenv(name, raising=False)
    given = {"GOOGLE_GEMINI_BASE_URL": url, "GOOGLE_VERTEX_BASE_URL": url} | dict.fromkeys(keys, KEY)
    for name, value in (SETTINGS | given).items():
        patch.setenv(name, value)
    return Routes(Media.VIDEO, CATALOGUE, providers(VideoWorkerSettings.read(), CATALOGUE))


async def ask_for(database: Database, route: VideoRoute) -> Any:
    generation = {
        "model": route.model,
        "aspectRatio": "16:9",
        "durationSeconds": "8",
        "resolution": "720p",
    }
    return await accept(database, kind="video", model=route.model, generation=generation)


async def open_operation(database: Database, job: ClaimedJob, route: VideoRoute, gate: Gate) -> int:
    """The intent to submit by a route; answers the id of the call."""
    opened = await Ledger(database).open(
        job,
        route=route.name,
        shape=RouteShape.OPERATION,
        model=route.model,
        gate=gate,
        fingerprint="f",
        lease_seconds=1,
    )
    assert opened.call_id is not None
    return opened.call_id


async def ordered(database: Database, route: VideoRoute) -> Any:
    """A job whose operation was accepted by another worker, which is gone."""
    job_id = await ask_for(database, route)
    first = video_queue(database)
    job = await claim_one(first)
    call_id = await open_operation(database, job, route, first.gate)
    await Ledger(database).accept(call_id, route.operation)
    await expire_lease(database, VIDEO_QUEUE)
    return job_id
