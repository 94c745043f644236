"""How lines of child processes are shown and kept."""

import io
import json
from pathlib import Path

import pytest

from devstack.stack.console import Console, LogFiles, both, render


def test_a_json_line_becomes_time_level_event_and_pairs() -> None:
    entry = {
        "service": "image_worker",
        "job_id": "job-1",
        "component": "worker",
        "reason": "too many requests",
        "attempt": 2,
        "event": "The job is released.",
        "level": "warning",
        "timestamp": "2026-11-21T05:12:33.123456Z",
    }
    expected = '05:12:33 warning The job is released. job_id=job-1 reason="too many requests" attempt=2'
    assert render(json.dumps(entry)) == expected


@pytest.mark.parametrize("time", ["2026-11-21T06:30:52.278539+00:00", 1795242652.3])
def test_the_emulators_time_is_read_too(time: str | float) -> None:
    entry = {"event": "request", "time": time, "status": 200}
    assert render(json.dumps(entry)) == "06:30:52 info    request status=200"


def test_an_exception_follows_its_line() -> None:
    entry = {"event": "failed", "level": "error", "exception": "Traceback\nValueError: x"}
    assert render(json.dumps(entry)) == "error   failed\nTraceback\nValueError: x"


def test_other_lines_stay_as_they_are() -> None:
    for line in ("LOG:  database system is ready", "{not json", '["a"]', '{"no": "event"}', ""):
        assert render(line) == line


def test_the_name_stands_in_front_and_a_file_has_no_colours() -> None:
    stream = io.StringIO()
    Console(stream)("ingest", '{"event": "serving", "level": "info"}')
    assert stream.getvalue() == "ingest          | info    serving\n"


def test_a_terminal_has_colours_by_program_and_by_level() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    console = Console(stream)
    console("one", "plain")
    console("two", '{"event": "broken", "level": "error", "timestamp": "2026-11-21T05:12:33Z"}')
    first, second = stream.getvalue().splitlines()
    assert first.startswith("\x1b[36mone")
    assert second.startswith("\x1b[33mtwo")
    assert "\x1b[31m05:12:33 error   broken\x1b[0m" in second


def test_files_keep_the_lines_as_they_came(tmp_path: Path) -> None:
    passed_on: list[tuple[str, str]] = []
    sink = both(LogFiles(tmp_path / "logs"), lambda name, line: passed_on.append((name, line)))
    sink("ingest", '{"event": "a"}')
    sink("ingest", "b")
    assert (tmp_path / "logs" / "ingest.log").read_text() == '{"event": "a"}\nb\n'
    assert passed_on == [("ingest", '{"event": "a"}'), ("ingest", "b")]
