"""Runs `storyboard doctor` in this process with settings of its own, and reads what it found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storyboard.__main__ import run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)


@dataclass(frozen=True)
class Examined:
    """How a run ended: its exit code and its findings in order."""

    code: int
    checks: list[dict[str, str]]

    def of(self, name: str) -> dict[str, str]:
        """The one finding of that name."""
        [finding] = [check for check in self.checks if check["name"] == name]
        return finding

    def state(self, name: str) -> str:
        """How that check ended."""
        return self.of(name)["state"]

    def sentence(self, name: str) -> str:
        """What was found and what to do."""
        finding = self.of(name)
        return f"{finding['message']}. {finding.get('action', '')}"

    @property
    def failed(self) -> list[str]:
        """Names of what failed."""
        return [check["name"] for check in self.checks if check["state"] == "failed"]


class Doctor:
    """The command in an environment that holds only what a test sets."""

    def __init__(self, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capture = capture
        self._patch = patch
        self.secrets: list[str] = []
        self.out = ""
        self.err = ""

    def set(self, **settings: str) -> None:
        """Change the environment of the next runs."""
        for name, value in settings.items():
            self._patch.setenv(name, value)

    def hide(self, *secrets: str) -> None:
        """Words that no run may print."""
        self.secrets += secrets

    def run(self, *arguments: str) -> int:
        """Run it and return the exit code; its words are in `out` and `err`."""
        self._capture.readouterr()
        code = run(["doctor", *arguments])
        captured = self._capture.readouterr()
        self.out, self.err = captured.out, captured.err
        for secret in self.secrets:
            assert secret not in self.out + self.err
        return code

    def __call__(self, *arguments: str) -> Examined:
        code = self.run("--json", *arguments)
        told: Any = json.loads(self.out)
        assert told["ok"] is (code == 0)
        return Examined(code, told["checks"])


@contextmanager
def clean_doctor(capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """A doctor to whom nothing is set."""
    for name in SETTINGS:
        patch.delenv(name, raising=False)
        patch.delenv(f"{name}_FILE", raising=False)
    yield Doctor(capture, patch)
