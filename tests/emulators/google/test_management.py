"""The management interface, the accounting of paid calls, and what outlives a kill."""

import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.emulators.google_fixture import (
    FRAMES_PER_SECOND,
    VIDEO_MODEL,
    Film,
    GoogleEmulator,
    await_operation,
    download,
    make_picture,
    report,
    script,
    submit_video,
)
from tests.waiting import wait_for


def details(response: httpx.Response, name: str) -> dict[str, Any]:
    detail: dict[str, Any] = next(item for item in response.json()["error"]["details"] if item["@type"].endswith(name))
    return detail


@pytest.mark.parametrize(
    ("kind", "quota_id", "value"),
    [
        ("rate_limited_minute", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "10"),
        ("quota_day", "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "100"),
        ("limit_zero", "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0"),
    ],
)
def test_quota_answers(client: httpx.Client, kind: str, quota_id: str, value: str) -> None:
    script(client, {"on": "image", "kind": kind, "retry_delay_seconds": 2.5})
    response = make_picture(client)
    assert (response.status_code, response.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    violation = details(response, "google.rpc.QuotaFailure")["violations"][0]
    assert (violation["quotaId"], violation["quotaValue"]) == (quota_id, value)
    assert details(response, "google.rpc.RetryInfo")["retryDelay"] == "2.5s"
    assert report(client)["accepted"]["image"] == 0
    assert make_picture(client).status_code == 200


@pytest.mark.parametrize(
    ("kind", "code", "status"), [("overloaded", 503, "UNAVAILABLE"), ("internal", 500, "INTERNAL")]
)
def test_service_errors(client: httpx.Client, kind: str, code: int, status: str) -> None:
    script(client, {"on": "submit", "kind": kind})
    response = submit_video(client)
    assert (response.status_code, response.json()["error"]["status"]) == (code, status)
    assert report(client)["accepted"]["video"] == 0


def test_scripts_are_used_in_order_and_by_prompt(client: httpx.Client) -> None:
    script(
        client,
        {"on": "image", "status": 502, "body": "<html>bad gateway</html>", "headers": {"content-type": "text/html"}},
        {"on": "image", "prompt_contains": "fox", "status": 400, "times": 2},
        {"on": "any", "status": 503, "body": {"error": {"code": 503}}, "headers": {"retry-after": "7"}},
    )
    first = make_picture(client)
    assert (first.status_code, first.text) == (502, "<html>bad gateway</html>")
    second = make_picture(client)
    assert (second.status_code, second.json(), second.headers["retry-after"]) == (503, {"error": {"code": 503}}, "7")
    assert [make_picture(client, prompt=f"a fox {n}").status_code for n in range(3)] == [400, 400, 200]


def test_scripted_body_of_a_picture_counts_as_paid(client: httpx.Client) -> None:
    script(client, {"on": "image", "body": {"candidates": []}})
    assert make_picture(client).json() == {"candidates": []}
    assert report(client)["accepted"]["image"] == 1


def test_error_after_acceptance(client: httpx.Client) -> None:
    script(client, {"on": "submit", "status": 504, "accept": True, "prompt_contains": "late"})
    assert submit_video(client, prompt="late", durationSeconds=4).status_code == 504
    summary = report(client)
    assert summary["accepted"]["video"] == 1
    assert await_operation(client, summary["requests"][0]["operation"])["done"] is True


@pytest.mark.parametrize(("drop", "paid"), [("before_accept", 0), ("after_accept", 1)])
def test_dropped_connections(client: httpx.Client, drop: str, paid: int) -> None:
    script(client, {"on": "any", "drop": drop, "times": 2, "kind": "empty_operation"})
    with pytest.raises(httpx.RemoteProtocolError):
        make_picture(client)
    with pytest.raises(httpx.RemoteProtocolError):
        submit_video(client)
    summary = report(client)
    assert summary["accepted"] == {"image": paid, "video": paid}
    assert [row["status"] for row in summary["requests"]] == [None, None]
    assert all(row["dropped"] for row in summary["requests"])


def test_polls_and_downloads_can_be_scripted(client: httpx.Client) -> None:
    operation = await_operation(client, submit_video(client, durationSeconds=4).json()["name"])
    script(client, {"on": "poll", "status": 500}, {"on": "download", "drop": "after_accept"})
    assert client.get(f"/v1beta/{operation['name']}").status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        download(client, operation)
    assert download(client, operation)[4:8] == b"ftyp"


def test_held_answer_is_paid_first_and_waits_for_release(emulator: GoogleEmulator, client: httpx.Client) -> None:
    script(client, {"on": "image", "hold": True})
    with ThreadPoolExecutor(1) as pool, emulator.client() as other:
        answer: Future[httpx.Response] = pool.submit(make_picture, other)
        summary = wait_for(lambda: report(client), lambda body: body["held"] == 1)
        assert summary["accepted"]["image"] == 1
        assert not answer.done()
        assert client.post("/_emulator/release").json() == {"released": 1}
        assert answer.result(timeout=90).status_code == 200
    assert report(client)["requests"][0]["status"] == 200


def test_reset_forgets_scripts_and_requests(client: httpx.Client) -> None:
    make_picture(client)
    script(client, {"on": "any", "status": 500, "times": 9})
    client.post("/_emulator/reset").raise_for_status()
    assert report(client) == {"accepted": {"image": 0, "video": 0}, "requests": [], "held": 0}
    assert make_picture(client).status_code == 200


@pytest.mark.parametrize(
    "entry",
    [
        {"on": "elsewhere"},
        {"kind": "unheard_of"},
        {"on": "image", "kind": "rai_filtered"},
        {"on": "submit", "kind": "operation_error:x"},
        {"times": 0},
        {"drop": "sometimes"},
        {"answer": 42},
        {"status": "500"},
        "text",
    ],
)
def test_senseless_scripts_are_refused(client: httpx.Client, entry: Any) -> None:
    assert client.post("/_emulator/script", json=entry).status_code == 400


def test_requests_are_reported_and_logged(emulator: GoogleEmulator, client: httpx.Client) -> None:
    name = submit_video(client, prompt="logged", durationSeconds=4).json()["name"]
    row = report(client)["requests"][0]
    assert row["time"] > 0
    expected = {"on": "submit", "method": "POST", "model": VIDEO_MODEL, "prompt": "logged", "operation": name}
    assert expected | {"accepted": True, "status": 200} == {k: row[k] for k in (*expected, "accepted", "status")}
    line = wait_for(lambda: emulator.next_line("request"), lambda line: line["on"] == "submit")
    assert {"route", "model", "status", "time"} <= line.keys()


def test_stops_cleanly_while_busy(tmp_path: Path) -> None:
    with GoogleEmulator(tmp_path, "--video-seconds", "60").running() as emulator, emulator.client() as client:
        submit_video(client)
        assert emulator.stop(signal.SIGINT) == 0


def test_stop_drops_held_answers(tmp_path: Path) -> None:
    with (
        GoogleEmulator(tmp_path).running() as emulator,
        emulator.client() as client,
        emulator.client() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        script(client, {"on": "image", "hold": True})
        answer: Future[httpx.Response] = pool.submit(make_picture, other)
        wait_for(lambda: report(client), lambda body: body["held"] == 1)
        assert emulator.stop() == 0
        with pytest.raises(httpx.RemoteProtocolError):
            answer.result(timeout=90)


def test_nothing_accepted_is_lost_by_a_kill(tmp_path: Path) -> None:
    emulator = GoogleEmulator(tmp_path / "state")
    with emulator.running(), emulator.client() as client:
        make_picture(client)
        finished = await_operation(client, submit_video(client, prompt="one", durationSeconds=4).json()["name"])
        film = download(client, finished)
        interrupted = submit_video(client, prompt="two").json()["name"]
        emulator.stop(signal.SIGKILL)
    with emulator.running(), emulator.client() as client:
        summary = report(client)
        assert summary["accepted"] == {"image": 1, "video": 2}
        assert interrupted in [row.get("operation") for row in summary["requests"]]
        assert client.get(f"/v1beta/{finished['name']}").json() == finished
        assert download(client, finished) == film
        assert Film(download(client, await_operation(client, interrupted))).frames == 8 * FRAMES_PER_SECOND
        client.post("/_emulator/reset").raise_for_status()
        assert emulator.stop() == 0
    with emulator.running(), emulator.client() as client:
        assert report(client)["accepted"] == {"image": 0, "video": 0}
        assert client.get(f"/v1beta/{finished['name']}").json() == finished


def test_kill_between_keeping_and_counting_is_made_good(tmp_path: Path) -> None:
    emulator = GoogleEmulator(tmp_path)
    with emulator.running(), emulator.client() as client:
        script(client, {"on": "submit", "kind": "empty_operation"})
        name = submit_video(client).json()["name"]
        emulator.stop(signal.SIGKILL)
    log = tmp_path / "requests.jsonl"
    head = log.read_text().splitlines()[0]
    log.write_text(f'{head}\n{{"cut off')
    with emulator.running(), emulator.client() as client:
        summary = report(client)
        assert summary["accepted"] == {"image": 0, "video": 1}
        assert summary["requests"][0]["operation"] == name


def test_many_at_once(client: httpx.Client, emulator: GoogleEmulator) -> None:
    barrier = threading.Barrier(8)

    def ask(_number: int) -> int:
        with emulator.client() as own:
            barrier.wait(timeout=90)
            return make_picture(own).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {200}
    assert report(client)["accepted"]["image"] == 8
