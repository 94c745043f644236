"""Follows jobs to their end through WatchJobs, over broken streams, without losing or repeating an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from storyboard.api.client import Ingest
from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.rpc_errors import command_error
from storyboard.terminal.views import TERMINAL_STATES, WAITING_STATES
from superstoryboard.domain.backoff import backoff_seconds
from superstoryboard.v1.generation_service_pb2 import ListJobsRequest, WatchJobsRequest
from superstoryboard.v1.job_pb2 import Job, JobEvent

WATCHED_AT_ONCE = 1000
GIVE_UP_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
TOLD_BREAK = 2
# How a stream ends when a connection or a server goes away; any other code is an answer.
RESUMABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
    }
)


class Display(Protocol):
    """Shows progress: lines for a log, bars for a terminal."""

    def show(self, event: JobEvent) -> None:
        """One event, in order, once."""

    def note(self, sentence: str) -> None:
        """Something to know that is no event."""


def follow_jobs(ingest: Ingest, job_ids: Sequence[str], display: Display) -> list[Job]:
    """Wait until every job is terminal and return them as they are then, in the same order.

    Raises:
        CommandError: the service refuses, or stays away for longer than GIVE_UP_SECONDS.
    """
    ended: dict[str, Job] = {}

    def finished() -> bool:
        waiting = [job_id for job_id in chunk if job_id not in ended]
        jobs = [ingest.get(job_id) for job_id in waiting]
        ended.update({job.id: job for job in jobs if job.state in TERMINAL_STATES})
        return all(job_id in ended for job_id in chunk)

    for start in range(0, len(job_ids), WATCHED_AT_ONCE):
        chunk = job_ids[start : start + WATCHED_AT_ONCE]
        request = WatchJobsRequest(job_ids=chunk, until_terminal=True)
        _Follower(ingest, request, display, finished).run()
    return [ended[job_id] for job_id in job_ids]


def follow_storyboard(ingest: Ingest, storyboard_id: str, display: Display, *, after_sequence: int, stay: bool) -> None:
    """Show the events of a storyboard until all its jobs are terminal, or with `stay` for ever.

    Raises:
        CommandError: as follow_jobs.
    """
    unfinished = ListJobsRequest(storyboard_id=storyboard_id, states=WAITING_STATES)

    def finished() -> bool:
        return not ingest.list_jobs(unfinished, 1) and not stay

    request = WatchJobsRequest(storyboard_id=storyboard_id, after_sequence=after_sequence, until_terminal=not stay)
    _Follower(ingest, request, display, finished).run()


@dataclass
class _Follower:
    """Reads stream after stream. What ends it is the jobs' own state, never how a stream ended."""

    ingest: Ingest
    request: WatchJobsRequest
    display: Display
    finished: Callable[[], bool]
    pauses: int = 0
    breaks: int = 0
    away_since: float | None = None

    def run(self) -> None:
        while True:
            start = self.request.after_sequence
            broken = self._read_stream()
            # A stream that broke among events has more of them, even where the jobs have ended by now.
            cut = broken and self.request.after_sequence > start
            if not cut and self._finished():
                return
            self.pauses += 1
            # A server that ends an old connection takes the next at once: only a break right behind another is told.
            self.breaks = self.breaks + 1 if broken else 0
            if self.breaks == TOLD_BREAK:
                self.display.note(f"The connection was lost; resuming after event {self.request.after_sequence}.")
            time.sleep(backoff_seconds(self.pauses, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))

    def _read_stream(self) -> bool:
        """Show the events of one stream; true where it broke."""
        try:
            for answer in self.ingest.watch(self.request):
                self.request.after_sequence = answer.event.sequence
                self.pauses, self.breaks = 0, 0
                self.display.show(answer.event)
        except grpc.RpcError as error:
            if error.code() not in RESUMABLE:
                raise command_error(error, self.ingest.endpoint) from error
            # The stream's own time limit is no fault.
            return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        return False

    def _finished(self) -> bool:
        """Whether all jobs have ended; unknown, so false, while the service is away."""
        try:
            finished = self.finished()
        except CommandError as error:
            now = time.monotonic()
            self.away_since = self.away_since or now
            if error.exit_code is not ExitCode.UNREACHABLE or now - self.away_since > GIVE_UP_SECONDS:
                raise
            return False
        self.away_since = None
        return finished
