"""Steps of the tests about submits whose answer was lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from superstoryboard.db.database import Database
from tests.conformance.http_stub import Answer, Stub
from tests.conformance.video_routes import ROUTES, VideoRoute, encoded
from tests.integration.helpers import VIDEO_QUEUE, accept, expire_lease
from tests.integration.route_steps import GEMINI, attempt, ending, routes_with

VEO, VERTEX, OMNI = ROUTES
LIST_PATH = f"/v1beta/models/{VEO.model}/operations"
CUT = Answer(cut=True)
ASKED = {"aspectRatio": "16:9", "durationSeconds": "8", "resolution": "720p", "prompt": "a fox"}
CALLS = "select state, paid, operation_name, error ->> 'code' from superstoryboard.provider_calls order by id"


async def ask_for(database: Database, route: VideoRoute, **changes: str) -> UUID:
    return await accept(database, kind="video", model=route.model, generation=ASKED | {"model": route.model} | changes)


def entry(name: str, *, created: datetime | None = None, **metadata: Any) -> dict[str, Any]:
    """An operation as the provider lists it."""
    shown = {
        "createTime": (created or datetime.now(UTC)).isoformat(),
        "prompt": "a fox",
        "parameters": {"aspectRatio": "16:9", "durationSeconds": 8, "resolution": "720p"},
    }
    return {"name": f"models/{VEO.model}/operations/{name}", "metadata": shown | metadata}


def lists(stub: Stub, *entries: dict[str, Any]) -> None:
    stub.answers[LIST_PATH] = Answer(body=encoded({"operations": list(entries)}))


def submits(stub: Stub, route: VideoRoute) -> int:
    return len([asked for asked in stub.asked if asked.target == route.submit_path])


async def lose_answer(database: Database, stub: Stub, patch: pytest.MonkeyPatch) -> UUID:
    """A job whose submit was sent and whose answer never came."""
    job_id = await ask_for(database, VEO)
    stub.answers[VEO.submit_path] = CUT
    done = await attempt(database, routes_with(stub.url, patch, GEMINI))
    assert ending(done) == ("RETRYING", "OPERATION_LOOKUP_PENDING")
    await expire_lease(database, VIDEO_QUEUE)
    return job_id
