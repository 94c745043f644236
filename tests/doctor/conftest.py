"""The doctor of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doctor.fixture import Doctor, clean_doctor


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """Nothing is set yet."""
    with clean_doctor(capsys, monkeypatch) as clean:
        yield clean
