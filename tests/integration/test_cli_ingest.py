"""The command line as a program against a real ingest on a real database."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.stack.ports import free_port
from devstack.stack.program import BlockingProcess, Program, base_env

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
CLI_SECONDS = 60
Cli = Callable[..., subprocess.CompletedProcess[str]]


def serves(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Iterator[Cli]:
    address = f"127.0.0.1:{free_port()}"
    environment = base_env() | {
        "DATABASE_URL": database_url,
        "DATABASE_LISTEN_URL": database_url,
        "GRPC_LISTEN": address,
        "AUTH_DISABLED": "true",
    }
    argv = [sys.executable, "-m", "services.ingest"]
    ingest = BlockingProcess(Program(name="ingest", argv=argv, env=environment, cwd=ROOT), tmp_path / "ingest.log")
    ingest.start(lambda: serves(address), START_SECONDS)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "storyboard", *arguments]
        env = base_env() | {"INGEST_ADDRESS": address}
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=CLI_SECONDS
        )

    yield run
    ingest.stop()


def test_an_image_job_is_queued_once_per_request_id(cli: Cli, sql: psycopg.Connection) -> None:
    arguments = ("image", "A tower", "--scene=scene-001", "--request-id=r1", "--label=team=a", "--detach")
    first, second = cli(*arguments), cli(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    [body] = [row[0] for row in sql.execute("select message from pgmq.image_generation_queue")]
    assert (body["storyboardId"], body["sceneId"], body["prompt"]) == ("test-storyboard", "scene-001", "A tower")
    shown = json.loads(cli("job", first.stdout.strip(), "--json").stdout)
    assert (shown["state"], shown["labels"]) == ("JOB_STATE_QUEUED", {"team": "a"})


def test_every_wrong_field_is_named(cli: Cli) -> None:
    done = cli("video", " ", "--scene=../x", "--resolution=1080p", "--duration=4")
    assert (done.returncode, done.stdout) == (2, "")
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == {
        "video.prompt",
        "video.scene_id",
        "video.resolution",
    }


def test_a_batch_keeps_its_good_items_and_a_watch_ends_when_the_messages_are_removed(
    cli: Cli, sql: psycopg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "batch.json"
    good = {"storyboardId": "board", "sceneId": 7, "prompt": "A tower", "editMode": None}
    file.write_text(json.dumps([good, [], good | {"prompt": ""}, good | {"sceneId": 8}]))
    done = cli("batch-images", str(file), "--detach")
    assert done.returncode == 1
    ids = done.stdout.split()
    assert len(ids) == 2
    assert "item 1: body: must be a JSON object" in done.stderr
    assert "item 2: image.prompt: " in done.stderr
    listed = json.loads(cli("jobs", "--storyboard=board", "--state=QUEUED", "--json").stdout)["jobs"]
    assert {job["image"]["sceneId"] for job in listed} == {"7", "8"}
    sql.execute("select pgmq.purge_queue('image_generation_queue')")
    sql.execute("select superstoryboard.sweep()")
    watched = cli("watch", *ids)
    assert watched.returncode == 1
    assert watched.stdout.count("CANCELLED") == 2
    assert "warning: message removed" in watched.stdout


def test_an_unknown_job_exits_1(cli: Cli) -> None:
    done = cli("job", "01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d")
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert cli("job", "no-uuid").returncode == 2
