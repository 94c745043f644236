"""Runs a command in this process against a scripted server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from storyboard.__main__ import run
from tests.unit.cli_script import Script
from tests.unit.cli_server import scripted_server


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout holds, which must be one JSON value and nothing else."""
        return json.loads(self.out)


class Cli:
    """The command line, its environment and the script of the services."""

    def __init__(self, script: Script, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.script = script
        self._capture = capture
        self._patch = patch

    def set(self, **settings: str) -> None:
        """Change the environment of the next commands."""
        for name, value in settings.items():
            self._patch.setenv(name, value)

    def __call__(self, *arguments: str) -> Result:
        self._capture.readouterr()
        code = run(arguments)
        captured = self._capture.readouterr()
        return Result(code, captured.out, captured.err)


@contextmanager
def running_cli(capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """A command line whose services are scripted."""
    script = Script()
    for name in ("STORYBOARD_TOKEN", "STORYBOARD_TOKEN_FILE", "STORYBOARD_ID", "DATABASE_URL", "DATABASE_URL_FILE"):
        patch.delenv(name, raising=False)
    with scripted_server(script) as address:
        cli = Cli(script, capture, patch)
        cli.set(INGEST_ADDRESS=address, IMAGE_WORKER_ADDRESS=address, VIDEO_WORKER_ADDRESS=address)
        yield cli
