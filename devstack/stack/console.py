"""Where the lines of child processes go: to the terminal, readable and coloured, and to files as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

Sink = Callable[[str, str], None]
"""Takes the name of a program and one line of its output."""

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95)
LEVEL_COLOURS = {"warning": 33, "error": 31, "critical": 31}
NAME_WIDTH = 16
HIDDEN = frozenset({"timestamp", "time", "level", "event", "service", "component", "exception"})


def render(line: str) -> str:
    """A JSON log line as `time level event key=value …`; any other line as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    time = _clock(entry.get("timestamp", entry.get("time", "")))
    pairs = [f"{key}={_value(value)}" for key, value in entry.items() if key not in HIDDEN]
    words = [time, str(entry.get("level", "info")).ljust(7), str(entry["event"]), *pairs]
    text = " ".join(word for word in words if word)
    exception = entry.get("exception")
    return f"{text}\n{exception}" if exception else text


def _clock(time: Any) -> str:
    """Hours, minutes and seconds of an ISO time or of seconds since 1970."""
    if isinstance(time, int | float):
        time = datetime.fromtimestamp(time, UTC).isoformat()
    return str(time)[11:19]


def _value(value: Any) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value, default=str)


class Console:
    """Prints lines with the program's name in front, in its own colour where the stream is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = stream.isatty()
        self._names: dict[str, int] = {}

    def __call__(self, name: str, line: str) -> None:
        """Print one line of a program."""
        colour = self._names.setdefault(name, COLOURS[len(self._names) % len(COLOURS)])
        prefix = self._paint(name.ljust(NAME_WIDTH), colour)
        for part in render(line).splitlines() or [""]:
            self._stream.write(f"{prefix}| {self._by_level(part)}\n")
        self._stream.flush()

    def _by_level(self, text: str) -> str:
        words = text.split(maxsplit=2)
        colour = LEVEL_COLOURS.get(words[1], 0) if len(words) > 1 else 0
        return self._paint(text, colour) if colour else text

    def _paint(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


class LogFiles:
    """Appends the lines of each program to `NAME.log` in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def __call__(self, name: str, line: str) -> None:
        """Keep one line of a program."""
        with (self._folder / f"{name}.log").open("a") as file:
            file.write(line + "\n")


def both(*sinks: Sink) -> Sink:
    """A sink that passes each line to several."""

    def pass_on(name: str, line: str) -> None:
        for sink in sinks:
            sink(name, line)

    return pass_on
