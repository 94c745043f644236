"""Calls of the Storage emulator."""

import uuid
from typing import Any

import httpx

from tests.emulators.storage_fixture import (
    SECRET_KEY,
    RunningEmulator,
)

GLOBAL_LIMIT = 3_000_000
PNG = b"\x89PNG not really"


def client_for(emulator: RunningEmulator, key: str | None = SECRET_KEY) -> httpx.AsyncClient:
    headers = {"apikey": key, "authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=f"{emulator.url}/storage/v1", headers=headers, timeout=60)


async def make_bucket(client: httpx.AsyncClient, **rules: Any) -> str:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    answer = await client.post("/bucket", json={"id": bucket, "name": bucket, **rules})
    assert answer.json() == {"name": bucket}
    return bucket


async def upload(
    client: httpx.AsyncClient,
    target: str,
    data: bytes = PNG,
    *,
    media_type: str = "image/png",
    upsert: bool = False,
) -> httpx.Response:
    return await client.post(
        f"/object/{target}",
        files={"file": ("a.png", data, media_type)},
        data={"cacheControl": "3600"},
        headers={"x-upsert": "true" if upsert else "false"},
    )


def refused(answer: httpx.Response, status: str, error: str) -> bool:
    body = answer.json()
    return (answer.status_code, body["statusCode"], body["error"]) == (400, status, error)
