"""`image`, `image-edit`, `video`: what is asked for, what is printed, how it exits."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from superstoryboard.rpc.errors import ApiError, invalid
from superstoryboard.v1 import generation_service_pb2 as api
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import job_id


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


def closed_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_image_sends_every_option(cli: Cli) -> None:
    options = ["--storyboard=board", "--scene", "s1", "--character=c1", "--model", "m", "--source=https://x/a.png"]
    more = ["--aspect-ratio=1:1", "--request-id=r1", "--label", "team=a", "--label=note=x=y", "--detach"]
    assert cli("image", "A tower", *options, *more).code == 0
    [request] = cli.script.of_type(api.CreateImageJobRequest)
    assert MessageToDict(request) == {
        "image": {
            "storyboardId": "board",
            "sceneId": "s1",
            "characterId": "c1",
            "prompt": "A tower",
            "sourceImageUrl": "https://x/a.png",
            "aspectRatio": "1:1",
            "model": "m",
        },
        "requestId": "r1",
        "labels": {"team": "a", "note": "x=y"},
    }


def test_image_edit_sets_edit_mode(cli: Cli) -> None:
    assert cli("image-edit", "Make it night", "--source=https://x/a.png").code == 0
    [request] = cli.script.of_type(api.CreateImageJobRequest)
    assert request.image.edit_mode
    assert request.image.source_image_url == "https://x/a.png"


def test_video_sends_its_options(cli: Cli) -> None:
    options = ["--source=https://x/a.png", "--duration=4", "--aspect-ratio", "9:16", "--resolution=720p"]
    assert cli("video", "Waves", "--scene=s1", *options).code == 0
    [request] = cli.script.of_type(api.CreateVideoJobRequest)
    assert MessageToDict(request.video) == {
        "storyboardId": "test-storyboard",
        "sceneId": "s1",
        "prompt": "Waves",
        "sourceImageUrl": "https://x/a.png",
        "aspectRatio": "9:16",
        "durationSeconds": "4",
        "resolution": "720p",
    }


def test_a_video_may_have_any_shape_that_its_model_offers(cli: Cli) -> None:
    options = ["--duration=10", "--aspect-ratio=1:1", "--resolution=4k", "--model=own"]
    assert cli("video", "Waves", *options, "--detach").code == 0
    [request] = cli.script.of_type(api.CreateVideoJobRequest)
    video = request.video
    assert (video.duration_seconds, video.aspect_ratio, video.resolution, video.model) == ("10", "1:1", "4k", "own")


def test_the_storyboard_comes_from_the_option_then_the_environment_then_the_default(cli: Cli) -> None:
    cli("image", "one", "--detach")
    cli.set(STORYBOARD_ID="from-environment")
    cli("image", "two", "--detach")
    cli("image", "three", "--storyboard=from-option", "--detach")
    ids = [request.image.storyboard_id for request in cli.script.of_type(api.CreateImageJobRequest)]
    assert ids == ["test-storyboard", "from-environment", "from-option"]


def test_it_waits_and_prints_the_url(cli: Cli) -> None:
    result = cli("image", "A tower", "--scene=s1")
    assert result.code == 0
    assert result.out.splitlines() == [f"SUCCEEDED {job_id(1)}", f"http://storage/{job_id(1)}.png"]
    assert [line.split()[1:3] for line in result.err.splitlines()] == [
        ["s1", "QUEUED"],
        ["s1", "RUNNING"],
        ["s1", "SUCCEEDED"],
    ]


def test_json_is_the_job_and_nothing_else(cli: Cli) -> None:
    result = cli("image", "A tower", "--json")
    assert result.code == 0
    assert result.json == MessageToDict(cli.script.jobs[job_id(1)])
    assert result.json["state"] == "JOB_STATE_SUCCEEDED"


def test_detach_prints_the_id_and_does_not_watch(cli: Cli) -> None:
    result = cli("video", "Waves", "--detach")
    assert (result.code, result.out) == (0, job_id(1) + "\n")
    assert cli.script.of_type(api.WatchJobsRequest) == []
    assert cli("video", "fail", "--detach", "--json").json["state"] == "JOB_STATE_QUEUED"


@pytest.mark.parametrize(("prompt", "word"), [("fail", "FAILED"), ("bury", "DEAD_LETTERED"), ("cancel", "CANCELLED")])
def test_a_job_that_does_not_succeed_exits_1(cli: Cli, prompt: str, word: str) -> None:
    result = cli("image", prompt)
    assert result.code == 1
    assert result.out.startswith(f"{word} {job_id(1)}\n")
    assert "REFUSED/SAFETY: the provider refuses the prompt" in result.out


def test_a_broken_watch_resumes_without_losing_or_repeating_an_event(cli: Cli) -> None:
    cli.script.breaks = 2
    result = cli("image", "A tower", "--scene=s1")
    assert result.code == 0
    shown = [line.split()[2] for line in result.err.splitlines() if line.startswith(job_id(1))]
    assert shown == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_each_wrong_field_has_a_line_and_exits_2(cli: Cli) -> None:
    cli.script.error = invalid([("image.prompt", "must not be empty"), ("image.model", "must be one of a, b")])
    result = cli("image", "", "--json")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == ["image.prompt: must not be empty", "image.model: must be one of a, b"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["image"],
        ["image-edit", "no source"],
        ["image", "x", "--label=novalue"],
        ["image", "x", "--no-such-option"],
        ["no-such-command"],
        ["process", "pictures"],
        ["process", "images", "--max=101"],
        ["watch"],
        ["watch", job_id(1), "--storyboard=x"],
    ],
)
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


@pytest.mark.parametrize(
    "command", [["image", "x"], ["video", "x"], ["jobs"], ["job", job_id(1)], ["watch", job_id(1)]]
)
def test_an_unreachable_service_exits_3_and_says_which(cli: Cli, command: list[str]) -> None:
    address = closed_address()
    cli.set(INGEST_ADDRESS=address)
    result = cli(*command)
    assert (result.code, result.out) == (3, "")
    assert f"The ingest service at {address} is not reachable." in result.err
    assert "INGEST_ADDRESS" in result.err


def test_a_service_that_is_up_but_cannot_work_says_why(cli: Cli) -> None:
    cli.script.error = ApiError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "the database is away")
    result = cli("image", "x")
    assert result.code == 3
    assert "is running but not ready: the database is away" in result.err


def test_other_errors_exit_1_with_reason_and_advice(cli: Cli) -> None:
    cli.script.error = ApiError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "send a token", retry_after_seconds=3)
    result = cli("image", "x")
    assert result.code == 1
    lines = ["send a token (TOKEN_MISSING)", "Try again in 3 s.", "Set STORYBOARD_TOKEN to a valid token."]
    assert result.err.splitlines() == lines


def test_the_token_goes_along_with_every_call(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    cli.set(STORYBOARD_TOKEN_FILE=str(file))
    cli("image", "x")
    assert {call["authorization"] for call in cli.script.metadata} == {"Bearer from-file"}
    cli.set(STORYBOARD_TOKEN="from-environment")
    cli("image", "x", "--detach")
    assert cli.script.metadata[-1]["authorization"] == "Bearer from-environment"


def test_a_token_that_no_header_carries_exits_2(cli: Cli, tmp_path: Path) -> None:
    cli.set(STORYBOARD_TOKEN="two\nlines")
    assert cli("image", "x").code == 2
    cli.set(STORYBOARD_TOKEN="", STORYBOARD_TOKEN_FILE=str(tmp_path / "missing"))
    assert "STORYBOARD_TOKEN_FILE" in cli("image", "x").err


def test_interrupted_wait_says_that_the_job_goes_on(cli: Cli) -> None:
    cli.script.hold.clear()
    command = [sys.executable, "-m", "storyboard", "image", "A tower", "--scene=s1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "QUEUED" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        cli.script.hold.set()
        assert process.wait(timeout=90) == 130
    assert f"The job continues. Follow: storyboard watch {job_id(1)}" in rest
    assert "Traceback" not in rest
