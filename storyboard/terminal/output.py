"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

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


def print_table(header: Sequence[str], rows: Iterable[Sequence[Text]]) -> None:
    """Aligned columns. A line too long for the terminal wraps there, so that URLs can be copied whole."""
    lines = [[Text(name, "bold") for name in header], *(list(row) for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        for cell, width in zip(line[:-1], widths, strict=False):
            cell.pad_right(width - cell.cell_len)
        stdout().print(Text("  ").join(line), soft_wrap=True)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, emoji=False)
