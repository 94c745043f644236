"""Runs rows one after the other: each counts only if its fault struck, and one that breaks reports itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from tests.faults.account import Account, account, open_jobs
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.faults.submits import submit_all
from tests.faults.world import LEASE_SECONDS, LOOK_FOR_LEASES_SECONDS, World

CONTROL_FACTOR = 2.0
CONTROL_AGE_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
TRIES = 3
NO_FAULT = ROWS[0]


@dataclass(frozen=True)
class Result:
    """How a row came out: `repeats` is how often its fault had struck nothing, `counts` is None for a broken row."""

    row: Row
    counts: Account | None
    wrong: list[str]
    repeats: int = 0
    bound: float = 0.0

    @property
    def second_payments(self) -> int:
        """Those of the account, and the good answers that no dying process took with it."""
        if self.counts is None:
            return 0
        return self.counts.second_payments + max(0, self.counts.images.discarded - self.row.discards)


@dataclass
class Runner:
    """Runs rows in one world as long as they come out well, and in a fresh one after one that did not.

    `patience_seconds`: how long jobs may take after the recovery that is allowed. `controlled`: whether runs without a
    fault tell a slow machine from a slow recovery; a system that is broken on purpose need not pass one.
    `control_age_seconds`: how long the last of those says how slow the machine is.
    """

    start: Callable[[], AbstractContextManager[World]]
    images: int
    videos: int
    patience_seconds: float = PATIENCE_SECONDS
    controlled: bool = True
    control_age_seconds: float = CONTROL_AGE_SECONDS
    _running: AbstractContextManager[World] | None = None
    _world: World | None = None
    _control: float = 0.0
    _controlled: float = field(default=float("-inf"))
    _rows: int = 0

    def world(self) -> World:
        """The world that rows run in, started where there is none."""
        if self._world is None:
            self._running = self.start()
            self._world = self._running.__enter__()
            self._controlled = float("-inf")
        return self._world

    def close(self) -> str:
        """Stop the world; says what went wrong with that, if anything."""
        running, self._running, self._world = self._running, None, None
        if running is None:
            return ""
        try:
            running.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - whatever does not stop must not stop the matrix
            return _named(error)
        return ""

    def _abandon(self) -> None:
        """End a world in which something is wrong; how it would have stopped says nothing."""
        if self._world is not None:
            self._world.give_up()
        self.close()

    def run(self, row: Row) -> Result:
        """Run a row until its fault has struck, at most three times."""
        result = Result(row, None, ["never ran"])
        for number in range(TRIES):
            result = replace(self._run_guarded(row), repeats=number)
            if result.wrong or row.evidence is None:
                break
            if row.evidence(self.world()) > 0:
                return result
        else:
            result = replace(result, wrong=["not run: its fault struck nothing"])
        if result.wrong:
            self._abandon()
        return result

    def control(self, *, fresh: bool = False) -> float:
        """Seconds that the same jobs take without a fault, measured not long ago."""
        if fresh or time.monotonic() - self._controlled > self.control_age_seconds:
            begun = time.monotonic()
            counts = self._attempt(NO_FAULT)
            wrong = faults_of(NO_FAULT, counts, self.world())
            if wrong:
                raise AssertionError(f"without any fault: {', '.join(wrong)}")
            self._controlled = time.monotonic()
            self._control = self._controlled - begun
        return self._control

    def _run_guarded(self, row: Row) -> Result:
        """One run. Whatever breaks is named, with the jobs that were open and the processes that had ended."""
        try:
            control = self.control() if self.controlled and row is not NO_FAULT else 0.0
            counts = self._attempt(row)
            wrong = faults_of(row, counts, self.world())
            bound = self._bound(row, control)
            if not wrong and self.controlled and row is not NO_FAULT and counts.seconds > bound:
                bound = self._bound(row, max(control, self.control(fresh=True)))
                wrong += (
                    [f"recovered after {counts.seconds:.1f} s, allowed {bound:.1f}"] if counts.seconds > bound else []
                )
            return Result(row, counts, wrong, bound=bound)
        except Exception as error:  # noqa: BLE001 - a row that breaks reports itself, and the others run
            return Result(row, None, [f"broke: {_named(error)}", *self._left_open()])

    def _left_open(self) -> list[str]:
        if self._world is None:
            return []
        self._world.ended.set()
        return [f"open: {self._world.open_rows()}", *self._world.dead_processes()]

    def _bound(self, row: Row, control: float) -> float:
        """Recovery follows from leases; what a slow machine adds is told by the control row."""
        return row.leases * (LEASE_SECONDS + LOOK_FOR_LEASES_SECONDS) + row.extra_seconds + CONTROL_FACTOR * control

    def _attempt(self, row: Row) -> Account:
        """Submit the jobs, break the thing, wait for the end, and count."""
        running = self.world()
        self._rows += 1
        images, videos = int(self.images * row.factor), int(self.videos * row.factor)
        running.begin(f"row-{self._rows}", images + videos)
        file = running.arm(row.service, row.step) if row.step else None
        running.video_model = row.video_model
        row.before(running)
        with ThreadPoolExecutor(1) as pool:
            submits = pool.submit(submit_all, running, images, videos)
            try:
                row.during(running)
                if file is not None:
                    running.kill_armed(row.service, file, row.between)
                healed = running.now()
                submits.result()
            finally:
                running.ended.set()
        self._wait_for_end(running, row)
        return account(running, running.asked, healed)

    def _wait_for_end(self, running: World, row: Row) -> None:
        allowed = self.patience_seconds * row.factor**0.5 + self._bound(row, self._control)
        deadline = time.monotonic() + allowed
        while open_jobs(running) and time.monotonic() < deadline:
            running.wait(0.05)


def faults_of(row: Row, counts: Account, running: World) -> list[str]:
    """What is wrong with the counts of a row."""
    faults = [*counts.faults, *running.wrong, *running.dead_processes()]
    for (error_class, code), number in counts.dead.items():
        if not {error_class, code} & row.dead:
            faults.append(f"dead letter {code} {number}")
    if sum(counts.dead.values()) > row.most_dead:
        faults.append(f"{sum(counts.dead.values())} dead letters")
    if counts.forsaken > row.forsakes:
        faults.append(f"{counts.forsaken} videos given up although their names are known")
    if row.finds and counts.names_lost:
        faults.append(f"{counts.names_lost} names lost")
    if counts.images.discarded > row.discards:
        faults.append(f"{counts.images.discarded} good answers discarded")
    return faults + ([f"{counts.spent} attempts spent"] if counts.spent and not row.spends else [])


def _named(error: BaseException) -> str:
    """Name and text of an error, cut: the log of a process may be in it."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:600]}"
