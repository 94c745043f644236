"""The Storage adapter where Storage fails, breaks off or is away."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from superstoryboard.storage.errors import StorageErrorKind
from superstoryboard.storage.objects import ObjectStat, ObjectStore
from tests.emulators.storage_fixture import (
    SECRET_KEY,
    RunningEmulator,
)
from tests.integration.storage_steps import MAX_BYTES, PNG, files_in, kind_of, script


def storage_calls(store: ObjectStore, bucket: str, path: Path) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.upload(bucket, "a", PNG, "image/png"),
        lambda: store.download_to(bucket, "a", path, MAX_BYTES),
        lambda: store.stat(bucket, "a"),
        lambda: store.remove(bucket, ["a"]),
        lambda: store.ensure_bucket("other", public=True),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503, "body": "<html>http://10.0.0.1 busy</html>", "content_type": "text/html"},
        {"status": 429, "body": {"message": "slow down"}},
        {"status": 500, "body": {"statusCode": "500", "error": "Internal", "message": "at http://10.0.0.1"}},
        {"status": 544, "body": {"statusCode": "544", "error": "DatabaseTimeout", "message": "timed out"}},
        {"status": 400, "body": {"statusCode": "423", "error": "ResourceLocked", "message": "locked"}},
        {"drop": True},
    ],
    ids=["gateway-503", "gateway-429", "own-500", "own-544", "locked", "dropped"],
)
async def test_passing_faults_are_unavailable(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path, answer: dict[str, Any]
) -> None:
    for call in storage_calls(store, bucket, tmp_path / "a"):
        await script(storage_control, on="any", **answer)
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("call_number", [0, 2, 4])
async def test_an_answer_that_is_not_storage_is_unavailable(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path, call_number: int
) -> None:
    await script(storage_control, on="any", status=200, body="<html>welcome</html>", content_type="text/html")
    call = storage_calls(store, bucket, tmp_path / "a")[call_number]
    assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE


async def test_a_page_that_is_not_found_is_not_a_missing_object(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    await script(storage_control, on="any", times=2, status=404, body="<html>no such page")
    assert await kind_of(store.stat(bucket, "a")) is StorageErrorKind.CONFIG
    assert await kind_of(store.download_to(bucket, "a", tmp_path / "a", 10)) is StorageErrorKind.CONFIG


async def test_calls_end_in_time_and_leave_nothing(
    storage_emulator: RunningEmulator, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    hasty = await ObjectStore.connect(url=storage_emulator.url, key=SECRET_KEY, timeout_seconds=0.2)
    await script(storage_control, on="any", times=5, hold=True)
    for call in storage_calls(hasty, bucket, tmp_path / "a"):
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    await storage_control.post("/release")
    await hasty.aclose()
    assert files_in(tmp_path) == []


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    # Port 9 on loopback: nothing answers there.
    lonely = await ObjectStore.connect(url="http://127.0.0.1:9", key="k", timeout_seconds=2)
    for call in storage_calls(lonely, "b", tmp_path / "a"):
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    await lonely.aclose()


async def test_an_endless_download_is_cut_at_the_limit(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    target = tmp_path / "a"
    await script(storage_control, on="download", body_bytes=200_000_000)
    assert await kind_of(store.download_to(bucket, "a", target, 1000)) is StorageErrorKind.TOO_LARGE
    await store.upload(bucket, "exact", bytes(1000), "image/png")
    assert (await store.download_to(bucket, "exact", target, 1000)).size_bytes == 1000
    assert await kind_of(store.download_to(bucket, "exact", tmp_path / "b", 999)) is StorageErrorKind.TOO_LARGE
    assert files_in(tmp_path) == [target]


async def test_a_download_that_breaks_off_leaves_no_file(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    await script(storage_control, on="download", body_bytes=3_000_000, drop=True)
    call = store.download_to(bucket, "a", tmp_path / "a", MAX_BYTES)
    assert await kind_of(call) is StorageErrorKind.UNAVAILABLE
    assert files_in(tmp_path) == []


async def test_an_upload_whose_answer_was_lost_can_be_repeated(
    store: ObjectStore, storage_control: httpx.AsyncClient, bucket: str
) -> None:
    await script(storage_control, on="upload", drop=True, after=True)
    call = store.upload(bucket, "a", PNG, "image/png")
    assert await kind_of(call) is StorageErrorKind.UNAVAILABLE
    assert await store.stat(bucket, "a") == ObjectStat(len(PNG), "image/png")
    await store.upload(bucket, "a", PNG, "image/png")


async def test_many_uploads_share_one_store(store: ObjectStore, bucket: str) -> None:
    keys = [f"many/{n}" for n in range(40)]
    await asyncio.gather(*(store.upload(bucket, key, PNG, "image/png") for key in keys))
    stats = await asyncio.gather(*(store.stat(bucket, key) for key in keys))
    assert set(stats) == {ObjectStat(len(PNG), "image/png")}
