"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console

# Wide enough that nothing is folded or cut where a program reads along.
PIPE_COLUMNS = 4000


def stdout() -> Console:
    """For results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """For progress, advice and errors."""
    return _console(sys.stderr)


def say(*lines: str) -> None:
    """Lines for people, on stderr."""
    for line in lines:
        stderr().print(line, markup=False, soft_wrap=True)


def print_line(line: str) -> None:
    """One line of a result, neither folded nor coloured."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_proto(message: Message, *, indent: int | None = 2) -> None:
    """Proto JSON, unchanged."""
    print_line(MessageToJson(message, indent=indent))


def print_json(value: Any) -> None:
    """JSON on one line, without spaces."""
    print_line(json.dumps(value, separators=(",", ":")))


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, emoji=False)
