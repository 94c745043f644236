"""Scripted answers, the request log, and how the emulator outlives its database."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.emulators.storage_fixture import (
    SECRET_KEY,
    RunningEmulator,
    running_emulator,
    start_database,
    start_emulator,
    stop_emulator,
)
from tests.waiting import awaited


def whole_client(url: str) -> httpx.AsyncClient:
    """A caller with the owner's key, of Storage and of the emulator's own interface."""
    headers = {"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60)


@pytest.fixture
async def client(emulator: RunningEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with whole_client(emulator.url) as each:
        await each.post("/_emulator/reset")
        yield each
        await each.post("/_emulator/reset")


async def make_bucket(client: httpx.AsyncClient) -> str:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    await client.post("/storage/v1/bucket", json={"id": bucket, "name": bucket, "public": True})
    return f"/storage/v1/object/{bucket}"


async def script(client: httpx.AsyncClient, *entries: dict[str, Any]) -> None:
    answer = await client.post("/_emulator/script", json=list(entries))
    assert answer.json() == {"scripted": len(entries)}


async def requests(client: httpx.AsyncClient) -> list[tuple[Any, ...]]:
    answer = (await client.get("/_emulator/requests")).json()
    return [tuple(each[key] for key in ("on", "method", "status", "bytes")) for each in answer["requests"]]


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def held(client: httpx.AsyncClient) -> None:
    """Ask until a request is held: the emulator is another process and has no event to await."""
    await awaited(lambda: client.get("/_emulator/requests"), lambda answer: bool(answer.json()["held"]))


async def test_a_scripted_answer_comes_once_then_the_real_one(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await script(
        client,
        {"on": "upload", "path_contains": "/other", "status": 500},
        {"on": "upload", "times": 2, "status": 503, "body": "<html>busy", "content_type": "text/html"},
        {"on": "upload", "status": 429, "body": {"message": "slow down"}, "headers": {"Retry-After": "1"}},
    )
    answers = [await client.post(f"{base}/a", content=bytes(300_000)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 429, 200]
    assert (answers[0].text, answers[0].headers["content-type"]) == ("<html>busy", "text/html")
    assert (answers[2].json(), answers[2].headers["retry-after"]) == ({"message": "slow down"}, "1")


async def test_sorts_are_told_apart_and_logged(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await client.post("/_emulator/reset")
    await client.post(f"{base}/a", content=b"12345")
    await client.get(f"{base}/a")
    await client.get(base.replace("/object/", "/object/public/") + "/a")
    await client.get(base.replace("/object/", "/object/info/") + "/a")
    await client.request("DELETE", base, json={"prefixes": ["a"]})
    await client.get("/storage/v1/bucket")
    log = await requests(client)
    assert [each[:3] for each in log] == [
        ("upload", "POST", 200),
        ("download", "GET", 200),
        ("public", "GET", 200),
        ("info", "GET", 200),
        ("remove", "DELETE", 200),
        ("bucket", "GET", 200),
    ]
    assert [each[3] for each in log[:3]] == [5, 5, 5]


async def test_drop_closes_the_connection_without_an_effect(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await script(client, {"on": "upload", "drop": True})
    with pytest.raises(httpx.TransportError):
        await client.post(f"{base}/a", content=b"x")
    assert (await client.get(f"{base}/a")).json()["error"] == "not_found"


async def test_after_loses_only_the_answer(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await script(client, {"on": "upload", "drop": True, "after": True})
    with pytest.raises(httpx.TransportError):
        await client.post(f"{base}/a", content=b"x")
    assert (await client.get(f"{base}/a")).content == b"x"


async def test_a_long_body_is_streamed_and_may_break_off(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await script(
        client,
        {"on": "download", "body_bytes": 20_000_000, "content_type": "video/mp4"},
        {"on": "download", "body_bytes": 100_000, "drop": True},
    )
    whole = await client.get(f"{base}/a")
    assert (whole.status_code, len(whole.content)) == (200, 20_000_000)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"{base}/a")


async def test_held_requests_wait_for_release(client: httpx.AsyncClient) -> None:
    base = await make_bucket(client)
    await script(client, {"on": "upload", "hold": True}, {"on": "download", "delay_seconds": 0.05})
    waiting = asyncio.create_task(client.post(f"{base}/a", content=b"x"))
    await held(client)
    assert (await client.get(f"{base}/a")).json()["error"] == "not_found"
    assert (await client.post("/_emulator/release")).json() == {"released": 1}
    assert (await waiting).status_code == 200


@pytest.mark.parametrize("entry", [{"on": "uplaod"}, {"status": 500}, {"on": "any", "sttaus": 500}, ["any"]])
async def test_a_script_that_would_do_nothing_is_refused(client: httpx.AsyncClient, entry: Any) -> None:
    answer = await client.post("/_emulator/script", json=[entry])
    assert answer.status_code == 400


async def test_an_upload_that_breaks_off_leaves_nothing(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    base = await make_bucket(client)
    address = httpx.URL(emulator.url)
    _, writer = await asyncio.open_connection(address.host, address.port)
    head = f"POST {base}/a HTTP/1.1\r\nhost: x\r\napikey: {SECRET_KEY}\r\ncontent-length: 1000\r\n\r\n"
    writer.write(head.encode() + bytes(10))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await awaited(lambda: requests(client), lambda log: [each[:3] for each in log[-1:]] == [("upload", "POST", 499)])
    assert (await client.get(f"{base}/a")).json()["error"] == "not_found"
    assert files_in(emulator.state_dir / "uploads") == []


async def test_objects_outlive_a_restart_and_a_kill_leaves_no_half_upload(
    client: httpx.AsyncClient, emulator: RunningEmulator, tmp_path: Path
) -> None:
    first = start_emulator(emulator.database_url, tmp_path)
    async with whole_client(first.url) as there:
        base = await make_bucket(there)
        await there.post(f"{base}/a", content=b"kept")
        token = (await there.post(base.replace("object", "object/sign") + "/a", json={"expiresIn": 60})).json()
    (tmp_path / "uploads" / "half").write_bytes(b"left by a killed process")
    first.process.kill()
    stop_emulator(first)
    with running_emulator(emulator.database_url, tmp_path) as second:
        url = f"{second.url}/storage/v1"
        assert (await client.get(f"{second.url}{base}/a")).content == b"kept"
        assert (await client.get(url + token["signedURL"])).content == b"kept"
        assert files_in(tmp_path / "uploads") == []


async def test_a_stop_does_not_wait_for_held_requests(
    client: httpx.AsyncClient, emulator: RunningEmulator, tmp_path: Path
) -> None:
    assert client
    with running_emulator(emulator.database_url, tmp_path) as running:
        async with whole_client(running.url) as there:
            await script(there, {"on": "bucket", "hold": True})
            waiting = asyncio.create_task(there.get("/storage/v1/bucket"))
            await held(there)
            running.process.terminate()
            (ended,) = await asyncio.gather(waiting, return_exceptions=True)
    # Nobody let the request go, and the process has ended in order: an error in place of its answer, or none.
    assert isinstance(ended, httpx.TransportError) or (isinstance(ended, httpx.Response) and ended.status_code == 500)


def test_more_signals_do_not_spoil_an_orderly_end(emulator: RunningEmulator, tmp_path: Path) -> None:
    running = start_emulator(emulator.database_url, tmp_path)
    while running.process.poll() is None:
        running.process.terminate()
    assert stop_emulator(running) == 0


async def test_it_starts_before_postgres_and_outlives_its_restart(servers: Path, tmp_path: Path) -> None:
    server = start_database(servers)
    database_url = server.get_uri()
    server.cleanup()
    with running_emulator(database_url, tmp_path / "state") as running:
        async with whole_client(running.url) as there:
            away = await there.get("/storage/v1/bucket")
            assert (away.status_code, away.json()["statusCode"]) == (544, "544")
            for _ in range(2):
                server = start_database(servers)
                try:
                    base = await make_bucket(there)
                    assert (await there.post(f"{base}/a", content=b"x")).status_code == 200
                    assert (await there.get("/health")).json() == {"status": "ok"}
                finally:
                    server.cleanup()


def test_an_idle_process_is_small(emulator: RunningEmulator) -> None:
    assert resident_bytes(emulator.process) - empty_process_bytes() < 40_000_000


def resident_bytes(process: subprocess.Popen[Any]) -> int:
    return int(psutil.Process(process.pid).memory_info().rss)


def empty_process_bytes() -> int:
    """What Python itself takes here, which may count lines."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as empty:
        assert empty.stdin is not None
        assert empty.stdout is not None
        empty.stdout.readline()
        size = resident_bytes(empty)
        empty.stdin.write(b"\n")
        empty.stdin.flush()
    return size
