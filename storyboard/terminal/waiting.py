"""What commands do with accepted jobs: print the id, or wait and print how each ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from storyboard.api.client import Ingest
from storyboard.api.errors import CommandError, ExitCode
from storyboard.terminal.follow import follow_jobs
from storyboard.terminal.output import print_line, print_proto, say
from storyboard.terminal.progress import progress_display
from storyboard.terminal.views import SUCCEEDED, entity_of, print_result
from superstoryboard.v1.job_pb2 import Job

NAMED_AT_MOST = 10


def finish_job(ingest: Ingest, job: Job, *, detach: bool, as_json: bool) -> None:
    """Print the accepted job, or wait for its end and print that.

    Raises:
        CommandError: it cannot be followed any longer.
        typer.Exit: the job did not succeed, or the wait was interrupted.
    """
    if not detach:
        [job] = wait_for(ingest, [job])
    if as_json:
        print_proto(job)
    elif detach:
        print_line(job.id)
    else:
        print_result(job)
    if not detach:
        exit_by([job])


def wait_for(ingest: Ingest, jobs: Sequence[Job]) -> list[Job]:
    """Follow the jobs to their end with progress on stderr.

    Raises:
        CommandError: they cannot be followed any longer; says that they go on.
        typer.Exit: interrupted by Ctrl-C.
    """
    names = {job.id: entity_of(job) for job in jobs}
    with jobs_go_on(list(names)), progress_display(names) as display:
        return follow_jobs(ingest, list(names), display)


@contextmanager
def jobs_go_on(job_ids: Sequence[str]) -> Iterator[None]:
    """Whatever ends the wait, the jobs go on: say so, and how to watch them."""
    advice = f"{'The job continues' if len(job_ids) == 1 else 'The jobs continue'}. {_how_to_watch(job_ids)}"
    try:
        yield
    except KeyboardInterrupt as interrupt:
        say("", advice)
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
    except CommandError as error:
        error.lines.append(advice)
        raise


def exit_by(jobs: Sequence[Job]) -> None:
    """Return where all succeeded.

    Raises:
        typer.Exit: a job failed, was dead-lettered or cancelled.
    """
    if any(job.state != SUCCEEDED for job in jobs):
        raise typer.Exit(ExitCode.FAILED)


def _how_to_watch(job_ids: Sequence[str]) -> str:
    if 0 < len(job_ids) <= NAMED_AT_MOST:
        return f"Follow: storyboard watch {' '.join(job_ids)}"
    return "List: storyboard jobs"
