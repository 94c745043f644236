"""Shows events on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from storyboard.terminal.follow import Display
from storyboard.terminal.output import say, stderr
from storyboard.terminal.views import STYLES, TERMINAL_STATES, state_word
from superstoryboard.v1.job_pb2 import JobEvent

MAX_BARS = 12


@contextmanager
def progress_display(names: Mapping[str, str]) -> Iterator[Display]:
    """The display that fits stderr; `names` says what each job id is for."""
    if not sys.stderr.isatty():
        yield Lines(names)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
    more = (
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
    )
    with Progress(*columns, *more, console=stderr(), transient=True) as progress:
        yield Bars(progress, names)


class Lines:
    """One line per event."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def show(self, event: JobEvent) -> None:
        words = [event.job_id, self._names.get(event.job_id, ""), state_word(event.state)]
        words += [f"{event.progress_percent}%", event.message]
        say(" ".join(filter(None, words)))

    def note(self, sentence: str) -> None:
        say(sentence)


class Bars:
    """A bar per job, or one for all where they are many."""

    def __init__(self, progress: Progress, names: Mapping[str, str]) -> None:
        self._progress = progress
        self._names = names
        self._bars: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._total = self._add("all jobs", len(names)) if len(names) > MAX_BARS else None

    def show(self, event: JobEvent) -> None:
        if self._total is not None:
            self._count(event, self._total)
            return
        state = state_word(event.state)
        name = escape(self._names.get(event.job_id, event.job_id))
        if event.job_id not in self._bars:
            self._bars[event.job_id] = self._add(name, 100)
        self._progress.update(
            self._bars[event.job_id],
            completed=100 if event.state in TERMINAL_STATES else event.progress_percent,
            description=f"{name} [{STYLES.get(state, 'default')}]{state}[/]",
            message=event.message,
        )

    def note(self, sentence: str) -> None:
        self._progress.console.print(sentence, markup=False)

    def _count(self, event: JobEvent, bar: TaskID) -> None:
        if event.state in TERMINAL_STATES:
            self._ended.add(event.job_id)
        else:
            self._ended.discard(event.job_id)
        message = f"{len(self._ended)} of {len(self._names)} ended"
        self._progress.update(bar, completed=len(self._ended), message=message)

    def _add(self, name: str, total: int) -> TaskID:
        return self._progress.add_task(name, total=total, message="")
