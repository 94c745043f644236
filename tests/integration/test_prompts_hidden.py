"""An answer of a provider may repeat the prompt; errors, events, ledger and logs do not, unless a setting says so."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from superstoryboard.db.database import Database
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.providers.wording import presentable
from superstoryboard.v1.job_pb2 import ImageGeneration
from superstoryboard.worker.attempt.generation import Adoption
from tests.conformance.http_stub import Answer, Stub
from tests.integration.helpers import accept, claim_one, image_queue
from tests.integration.workers import CATALOGUE, NOWHERE, image_worker

PROMPT = "a planted prompt about a harbour that nobody else may read"
MODEL = CATALOGUE.default_name("image")
SAID = f"I will not draw: {PROMPT}"
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "blocked": (200, {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": SAID}}),
    "refused": (200, {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": SAID}]}),
    "answered in words": (200, {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": SAID}]}}]}),
    "invalid": (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": SAID[:60]}}),
    "out of order": (500, {"error": {"code": 500, "status": "INTERNAL", "message": SAID}}),
    "unread": (200, {"candidates": [{"finishReason": SAID}]}),
}
SHOWN = (
    "select error::text from superstoryboard.jobs",
    "select message from superstoryboard.job_events",
    "select error::text from superstoryboard.provider_calls",
)


async def test_no_answer_brings_the_prompt_where_others_read(
    database: Database, sql: psycopg.Connection, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = GeminiImages(api_key="key", base_url=stub.url, api_version="v1beta", catalogue=CATALOGUE)
    async with image_worker(database, provider, NOWHERE, CollectorRegistry()) as worker:
        for status, answer in ANSWERS.values():
            await accept(database, generation={"storyboardId": "board", "prompt": PROMPT, "model": MODEL}, model=MODEL)
            path = f"/v1beta/models/{MODEL}:generateContent"
            stub.answers[path] = Answer(status, json.dumps(answer).encode(), {"content-type": "application/json"})
            await worker.process(1, force=False)
    assert [PROMPT in asked.body.decode() for asked in stub.asked] == [True] * len(ANSWERS)
    texts = [str(row[0]) for statement in SHOWN for row in sql.execute(statement).fetchall()]
    assert sum("[prompt]" in text for text in texts) >= len(ANSWERS) - 1, texts
    assert [text for text in texts if PROMPT[:30] in text] == []
    captured = capsys.readouterr()
    assert PROMPT[:30] not in captured.out + captured.err


@pytest.mark.parametrize(("show_prompts", "shown"), [(True, SAID), (False, "I will not draw: [prompt]")])
async def test_a_setting_shows_them(database: Database, show_prompts: bool, shown: str) -> None:
    await accept(database, generation={"storyboardId": "board", "prompt": PROMPT})
    work = image_queue(database)
    adoption = Adoption(work, CATALOGUE, MODEL, show_prompts=show_prompts)
    await adoption.generation(await claim_one(work), ImageGeneration)
    assert presentable(SAID) == shown
