"""The whole system over mutual TLS: the command line, rotation of certificates under load, and who is kept out."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.stack.certificates import HOSTS, Authority, StackTls
from devstack.stack.environments import SERVICES
from devstack.stack.pipeline import ROOT, Stack, StackOptions
from devstack.stack.program import base_env
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.job_pb2 import ImageGeneration, JobState
from tests.running import OWN_CONNECTION
from tests.tls_peer import handshake, serial, trusting

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLI_SECONDS = 90.0
CALL_SECONDS = 60.0
ROTATIONS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    # Not below pytest's own folder: another session closes that one to the account of the database.
    with TemporaryDirectory(prefix="stack-") as folder:
        async with Stack(StackOptions(state_dir=Path(folder), rabbitmq=False, tls=True)) as running:
            yield running


def certificates(stack: Stack) -> StackTls:
    assert stack.tls is not None
    return stack.tls


async def run(stack: Stack, *arguments: str, **changes: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program that finds the stack in its environment."""
    env = base_env() | stack.client_settings() | {"PYTHON": sys.executable, "STORYBOARD_TOKEN": stack.service_token}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, env=env | changes, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), CLI_SECONDS)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def storyboard(stack: Stack, *arguments: str, **changes: str) -> tuple[int, str, str]:
    return await run(stack, sys.executable, "-m", "storyboard", *arguments, **changes)


@pytest.mark.parametrize("command", [["image", "a lighthouse"], ["video", "waves break", "--duration", "4"]])
async def test_a_job_goes_through_the_whole_system(stack: Stack, command: list[str]) -> None:
    code, out, err = await storyboard(stack, *command, "--scene", "scene-001", "--json")
    assert code == 0, err
    assert json.loads(out)["state"] == "JOB_STATE_SUCCEEDED"


async def test_the_script_of_cron_reaches_both_workers(stack: Stack) -> None:
    for kind in ("images", "videos"):
        code, out, err = await run(stack, "./process-queue.sh", kind)
        assert code == 0, err
        assert json.loads(out)["processed"] == 0


async def test_the_doctor_tells_of_tls(stack: Stack) -> None:
    code, out, err = await storyboard(stack, "doctor", "--json")
    told = {check["name"]: check for check in json.loads(out)["checks"]}
    assert (code, err) == (0, "")
    for name in ("ingest", "image worker", "video worker"):
        assert told[name]["state"] == "ok"
        assert "is SERVING, over TLS; its certificate expires 20" in told[name]["message"]


async def test_the_files_are_for_their_owner_alone(stack: Stack) -> None:
    folder = stack.options.state_dir / "tls"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(["ca.crt", "server.crt", "server.key", "client.crt", "client.key"], 0o600)


async def test_an_unknown_ca_is_refused_in_one_line(stack: Stack, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    code, out, err = await storyboard(stack, "jobs", STORYBOARD_TLS_CA=str(stranger.certificate))
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1, err
    assert "is not signed by the CA in STORYBOARD_TLS_CA" in err


async def test_plaintext_is_refused_in_one_line(stack: Stack) -> None:
    code, out, err = await storyboard(stack, "jobs", INGEST_ADDRESS=f"http://{stack.ingest_address}")
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1, err
    assert f"requires TLS. Set INGEST_ADDRESS to https://{stack.ingest_address}" in err


@pytest.mark.parametrize("service", SERVICES)
async def test_health_is_on_a_plaintext_port(stack: Stack, service: str) -> None:
    async with grpc.aio.insecure_channel(stack.ports.health_address(service)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def channel(stack: Stack) -> grpc.aio.Channel:
    """A new connection to ingest."""
    tls = certificates(stack)
    credentials = grpc.ssl_channel_credentials(
        tls.authority.certificate.read_bytes(), tls.client.key.read_bytes(), tls.client.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(stack.ingest_address, credentials, options=OWN_CONNECTION)


class Load:
    """Callers of ingest, each call over a new connection; the first failure ends them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._metadata = (("authorization", f"Bearer {stack.user_token('alice')}"),)
        self.done = asyncio.Event()
        self.created = asyncio.Semaphore(0)
        self.job_ids: list[str] = []

    async def submit(self) -> None:
        while not self.done.is_set():
            async with channel(self._stack) as opened:
                image = ImageGeneration(storyboard_id="board", prompt=f"fox {len(self.job_ids)}")
                created = await GenerationServiceStub(opened).CreateImageJob(
                    api.CreateImageJobRequest(image=image), metadata=self._metadata, timeout=CALL_SECONDS
                )
                self.job_ids.append(created.job.id)
                self.created.release()

    async def watch(self, stub: Any) -> None:
        """See every job to its end."""
        request = api.WatchJobsRequest(job_ids=self.job_ids, until_terminal=True)
        ended = {
            answer.event.job_id
            async for answer in stub.WatchJobs(request, metadata=self._metadata, timeout=CALL_SECONDS)
            if answer.event.state == JobState.JOB_STATE_SUCCEEDED
        }
        assert ended == set(self.job_ids)

    async def list_jobs(self, stub: Any) -> None:
        while not self.done.is_set():
            await stub.ListJobs(api.ListJobsRequest(), metadata=self._metadata, timeout=CALL_SECONDS)


async def test_certificates_rotate_under_load_without_a_failed_call(stack: Stack) -> None:
    load = Load(stack)
    shown = set()
    async with channel(stack) as lasting:
        stub = GenerationServiceStub(lasting)
        async with asyncio.TaskGroup() as group:
            for work in (load.submit(), load.list_jobs(stub)):
                group.create_task(work)
            for _ in range(ROTATIONS):
                await load.created.acquire()
                shown.add(await rotated(stack))
            load.done.set()
        await load.watch(stub)
    assert len(shown) == ROTATIONS
    assert len(load.job_ids) > ROTATIONS


async def rotated(stack: Stack) -> int:
    """Replace the files of all services, and return the certificate's number once each of them shows it."""
    tls = certificates(stack)
    new = serial(tls.authority.issue("server", *HOSTS).certificate)
    context = trusting(tls.authority)
    async with asyncio.timeout(CALL_SECONDS):
        for service in SERVICES:
            while (await asyncio.to_thread(handshake, stack.address(service), context))[0] != new:
                pass
    return new
