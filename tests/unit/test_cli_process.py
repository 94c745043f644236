"""`process images|videos`: the JSON that scripts of the queue system read (SPEC A10)."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from storyboard.api.settings import Endpoint, worker_endpoint
from superstoryboard.domain.kinds import IMAGE
from superstoryboard.rpc.errors import ApiError
from superstoryboard.v1 import worker_service_pb2 as worker
from tests.unit.cli_fixture import Cli, running_cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


def test_json_of_images_to_the_letter(cli: Cli) -> None:
    done = worker.ProcessResult(success=True, scene_id="scene-001", image_url="https://s/a.png", msg_id=1, job_id="j")
    failed = worker.ProcessResult(scene_id="scene-002", error="still running", msg_id=2, job_id="k")
    answer = worker.ProcessQueueResponse(message="Processed 2 messages", processed=2, results=[done, failed])
    cli.script.processed = answer
    result = cli("process", "images", "--max=2", "--json")
    assert result.out == (
        '{"message":"Processed 2 messages","processed":2,"results":['
        '{"success":true,"sceneId":"scene-001","imageUrl":"https://s/a.png","msg_id":1},'
        '{"success":false,"sceneId":"scene-002","error":"still running","msg_id":2}]}\n'
    )
    assert result.code == 1
    assert cli.script.of_type(worker.ProcessQueueRequest)[0].max_messages == 2


def test_json_of_a_video_of_a_character(cli: Cli) -> None:
    done = worker.ProcessResult(success=True, character_id="keeper", video_url="https://s/a.mp4", msg_id=9)
    cli.script.processed = worker.ProcessQueueResponse(message="Processed 1 message(s)", processed=1, results=[done])
    result = cli("process", "videos", "--json")
    assert result.out == (
        '{"message":"Processed 1 message(s)","processed":1,"results":['
        '{"success":true,"characterId":"keeper","videoUrl":"https://s/a.mp4","msg_id":9}]}\n'
    )
    assert result.code == 0
    assert cli.script.of_type(worker.ProcessQueueRequest)[0].max_messages == 0


def test_json_of_an_empty_queue(cli: Cli) -> None:
    cli.script.processed = worker.ProcessQueueResponse(message="No messages in queue")
    result = cli("process", "images", "--json")
    assert (result.code, result.out) == (0, '{"message":"No messages in queue","processed":0}\n')


def test_a_failed_call_is_json_too_and_exits_1(cli: Cli) -> None:
    cli.script.error = ApiError(grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "this needs service_role")
    result = cli("process", "images", "--json")
    assert result.code == 1
    assert result.json["error"].startswith("this needs service_role")
    cli.set(VIDEO_WORKER_ADDRESS="127.0.0.1:1")
    result = cli("process", "videos", "--json")
    assert result.code == 1
    assert "The video worker at 127.0.0.1:1 is not reachable." in result.json["error"]


def test_without_json_an_unreachable_worker_exits_3(cli: Cli) -> None:
    cli.set(IMAGE_WORKER_ADDRESS="127.0.0.1:1")
    result = cli("process", "images")
    assert (result.code, result.out) == (3, "")
    assert "IMAGE_WORKER_ADDRESS" in result.err


def test_the_table_shows_each_message(cli: Cli) -> None:
    failed = worker.ProcessResult(scene_id="scene-002", error="the provider refuses [x]", msg_id=2)
    cli.script.processed = worker.ProcessQueueResponse(message="Processed 1 messages", processed=1, results=[failed])
    result = cli("process", "images")
    assert result.code == 1
    assert "Processed 1 messages" in result.out
    assert ["2", "scene-002", "no", "the", "provider", "refuses", "[x]"] in [
        line.split() for line in result.out.splitlines()
    ]


def test_the_script_prints_the_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.script.processed = worker.ProcessQueueResponse(message="No messages in queue")
    monkeypatch.setenv("PYTHON", sys.executable)
    script = str(ROOT / "process-queue.sh")
    done = subprocess.run([script, "images", "--max", "3"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, '{"message":"No messages in queue","processed":0}\n')
    wrong = subprocess.run([script, "pictures"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, "usage:" in wrong.stderr) == (2, True)


def test_the_worker_of_a_kind_without_a_default_address_has_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = replace(IMAGE, name="echo")
    assert worker_endpoint(echo) == Endpoint("echo worker", "ECHO_WORKER_ADDRESS", "")
    monkeypatch.setenv("ECHO_WORKER_ADDRESS", "127.0.0.1:1")
    assert worker_endpoint(echo).address == "127.0.0.1:1"
