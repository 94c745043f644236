"""What several modules of database tests start: ingest as a process, and Storage's emulator with the adapter on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import httpx
import psycopg
import pytest

from superstoryboard.storage.objects import ObjectStore
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.emulators.storage_fixture import SECRET_KEY, RunningEmulator, running_emulator
from tests.integration.ingest_calls import UNLIMITED
from tests.integration.storage_steps import GLOBAL_LIMIT
from tests.running import ALICE, Service, running
from tests.wire import raw_call


@pytest.fixture(scope="module")
def ingest_settings() -> dict[str, str]:
    """Further settings of ingest; a module that needs some overrides this."""
    return {}


@pytest.fixture(scope="module")
def ingest(
    module_database_url: str, ingest_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = {
        "DATABASE_URL": module_database_url,
        "DATABASE_LISTEN_URL": module_database_url,
        # Callers of many tests use the same storyboards.
        "SHARED_STORYBOARDS": "board,watched",
    } | ingest_settings
    with running("ingest", settings, tmp_path_factory.mktemp("ingest") / "log") as service:
        yield service


@pytest.fixture
def channel(ingest: Service) -> Iterator[grpc.Channel]:
    """A connection of its own to ingest, which has imported all that a call needs."""
    with grpc.insecure_channel(ingest.address, UNLIMITED) as opened:
        raw_call(opened, "GenerationService/ListJobs")(b"", metadata=ALICE)
        yield opened


@pytest.fixture
def generation(channel: grpc.Channel) -> GenerationServiceStub:
    return GenerationServiceStub(channel)


@pytest.fixture
def rows(module_database_url: str) -> Iterator[Callable[[], tuple[int, int]]]:
    """Counts of jobs and queue messages."""
    with psycopg.connect(module_database_url, autocommit=True) as connection:

        def count() -> tuple[int, int]:
            record = connection.execute(
                "select (select count(*) from superstoryboard.jobs),"
                " (select count(*) from pgmq.q_image_generation_queue)"
                " + (select count(*) from pgmq.q_video_generation_queue)"
            ).fetchone()
            assert record is not None
            return record[0], record[1]

        yield count


@pytest.fixture(scope="module")
def storage_emulator(storage_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    limit = ("--global-file-size-limit", str(GLOBAL_LIMIT))
    with running_emulator(storage_database_url, tmp_path_factory.mktemp("storage"), *limit) as running_storage:
        yield running_storage


@pytest.fixture
async def storage_control(storage_emulator: RunningEmulator) -> AsyncIterator[httpx.AsyncClient]:
    """The emulator's own interface; nothing is scripted, held or recorded before and after a test."""
    async with httpx.AsyncClient(base_url=f"{storage_emulator.url}/_emulator", timeout=60) as each:
        await each.post("/reset")
        yield each
        await each.post("/reset")


@pytest.fixture
async def store(storage_emulator: RunningEmulator, storage_control: httpx.AsyncClient) -> AsyncIterator[ObjectStore]:
    assert storage_control
    each = await ObjectStore.connect(url=storage_emulator.url, key=SECRET_KEY, timeout_seconds=60)
    yield each
    await each.aclose()


@pytest.fixture
async def bucket(store: ObjectStore) -> str:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    await store.ensure_bucket(name, public=True)
    return name
