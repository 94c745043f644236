"""The Google emulator that its test modules share: one for a module, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.emulators.google_fixture import GoogleEmulator


@pytest.fixture(scope="module")
def emulator_options() -> tuple[str, ...]:
    """Further command-line options of the emulator; a module that needs some overrides this."""
    return ()


@pytest.fixture(scope="module")
def emulator(emulator_options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleEmulator]:
    with GoogleEmulator(tmp_path_factory.mktemp("google"), *emulator_options).running() as running:
        yield running


@pytest.fixture
def client(emulator: GoogleEmulator) -> Iterator[httpx.Client]:
    """A caller with the API key."""
    with emulator.client() as http:
        http.post("/_emulator/reset").raise_for_status()
        yield http
