"""The Storage emulator that its test modules share: one for a module, emptied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.emulators.storage_fixture import RunningEmulator, running_emulator, wait_healthy
from tests.emulators.storage_steps import GLOBAL_LIMIT, client_for


@pytest.fixture(scope="module")
def emulator(storage_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    limit = ("--global-file-size-limit", str(GLOBAL_LIMIT))
    with running_emulator(storage_database_url, tmp_path_factory.mktemp("storage"), *limit) as running:
        wait_healthy(running)
        yield running


@pytest.fixture
async def client(emulator: RunningEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(emulator) as each:
        await each.post(f"{emulator.url}/_emulator/reset")
        yield each
