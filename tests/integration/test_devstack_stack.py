"""The whole stack: its parts come back after a kill, and nothing is left when it ends."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.stack.environments import SERVICES
from devstack.stack.outside import Outside
from devstack.stack.pipeline import ROOT, Stack, StackOptions
from superstoryboard.v1 import generation_service_pb2 as generation
from superstoryboard.v1 import generation_service_pb2_grpc as generation_grpc
from superstoryboard.v1.job_pb2 import ImageGeneration, Job, JobState
from tests.folders import server_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")
READY_SECONDS = 90.0
JOB_SECONDS = 90.0
UP_SECONDS = 90.0
RUN_UP = """
import sys
from pathlib import Path
from devstack.stack.ports import Ports
from devstack.up import run
sys.exit(run(Ports.free(), Path(sys.argv[1]), tls=sys.argv[2] == "tls"))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(amqp_url: str) -> AsyncIterator[Stack]:
    with server_folder() as folder:
        async with Stack(StackOptions(state_dir=folder, outside=Outside(amqp_url=amqp_url))) as running:
            yield running


async def draw(stack: Stack) -> Job:
    """One image, from the call to the stored asset."""
    caller = (("authorization", f"Bearer {stack.user_token('alice')}"),)
    async with grpc.aio.insecure_channel(stack.ingest_address) as channel:
        stub = generation_grpc.GenerationServiceStub(channel)
        image = ImageGeneration(storyboard_id="board", scene_id="scene", prompt="a lighthouse")
        created = await stub.CreateImageJob(
            generation.CreateImageJobRequest(image=image), metadata=caller, timeout=JOB_SECONDS, wait_for_ready=True
        )
        watch = generation.WatchJobsRequest(job_ids=[created.job.id], until_terminal=True)
        async for _ in stub.WatchJobs(watch, metadata=caller, timeout=JOB_SECONDS):
            pass
        answer = await stub.GetJob(generation.GetJobRequest(job_id=created.job.id), metadata=caller)
    return answer.job


async def test_an_image_goes_through_every_process(stack: Stack) -> None:
    job = await draw(stack)
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert job.asset.url.startswith(stack.storage_url)


@pytest.mark.parametrize("name", ["image_worker", "google_emulator", "postgres"])
async def test_a_killed_process_comes_back_and_work_goes_on(stack: Stack, name: str) -> None:
    child = stack.process(name)
    await child.wait_restarted(child.kill())
    for other in stack.processes():
        await other.wait_ready(READY_SECONDS)
    assert (await draw(stack)).state == JobState.JOB_STATE_SUCCEEDED


async def test_a_stopped_service_stays_away_until_it_is_started(stack: Stack) -> None:
    child = stack.process("ingest")
    await child.stop()
    async with grpc.aio.insecure_channel(stack.ingest_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=READY_SECONDS)
    await child.start()
    await child.wait_ready(READY_SECONDS)


async def test_running_processes_hold_only_their_secrets(stack: Stack) -> None:
    secrets = stack.secrets
    holders = {secrets.google_key: {"image_worker", "video_worker"}, secrets.storage_secret_key: {"asset_writer"}}
    for secret, names in holders.items():
        holders_now = {
            name for name in SERVICES if secret in psutil.Process(stack.process(name).pid).environ().values()
        }
        assert holders_now == names


async def test_memory_is_told_for_every_process(stack: Stack) -> None:
    memory = await stack.memory_bytes()
    assert memory.keys() == {child.name for child in stack.processes()}
    assert all(size > 0 for size in memory.values())


async def test_a_stack_without_broker_works_from_the_database_alone(servers: Path) -> None:
    async with Stack(StackOptions(state_dir=servers, rabbitmq=False)) as stack:
        assert stack.amqp_url is None
        assert (await draw(stack)).state == JobState.JOB_STATE_SUCCEEDED
        processes = [psutil.Process(child.pid) for child in stack.processes()]
    assert not [process for process in processes if process.is_running()]


@pytest.mark.parametrize("protocol", ["plaintext", "tls"])
async def test_up_runs_until_ctrl_c_and_leaves_nothing(servers: Path, protocol: str) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN_UP, str(servers), protocol, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(UP_SECONDS):
        while not lines or "Ctrl-C stops everything." not in lines[-1]:
            line = await program.stdout.readline()
            assert line, "".join(lines)
            lines.append(line.decode())
    children = psutil.Process(program.pid).children(recursive=True)
    exported = (servers / "env").read_text()
    assert ("INGEST_ADDRESS=https://" in exported, "STORYBOARD_TLS_CERT=" in exported) == (protocol == "tls",) * 2
    program.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(program.communicate(), UP_SECONDS)
    assert program.returncode == 0
    assert rest.decode().endswith("Stopped.\n")
    assert exported in "".join(lines)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
