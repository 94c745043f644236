"""`dead-letters`: look at jobs that wait for a person, and decide."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.queue_client import Queues, connect_queues
from storyboard.commands.cancel_retry import JobIds, SecondPayment
from storyboard.commands.jobs import DEFAULT_LIMIT, JobId
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_line, print_proto, print_table, say
from storyboard.terminal.views import entity_of, error_text, print_details, print_jobs, time_text
from superstoryboard.domain.kinds import KINDS, Plural, kind_name, kind_of_plural
from superstoryboard.v1.job_pb2 import Job
from superstoryboard.v1.queue_service_pb2 import (
    DeadLetter,
    DiscardDeadLettersResponse,
    ListDeadLettersResponse,
    RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
)


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    group.command("list")(list_dead_letters)
    group.command("show")(show)
    group.command("redrive")(redrive)
    group.command("discard")(discard)
    app.add_typer(
        group,
        name="dead-letters",
        rich_help_panel="Operate",
        help="Inspect, redrive and discard jobs that need a decision. Needs the role service_role.",
    )


def list_dead_letters(
    *,
    queue: Annotated[Plural | None, typer.Option("--queue", help="Only this queue.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Maximum number of results.")
    ] = DEFAULT_LIMIT,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first.

    CALLS counts calls that were or may have been charged; UNKNOWN those whose outcome is unknown.

    [bold]Example[/bold]

      storyboard dead-letters list --queue videos
    """
    with connect_queues() as queues:
        letters = list(islice(queues.dead_letters(kind_of_plural(queue).queue if queue else ""), limit))
    if as_json:
        print_proto(ListDeadLettersResponse(dead_letters=letters))
    elif letters:
        print_table(("JOB", "KIND", "ENTITY", "CALLS", "UNKNOWN", "ENDED", "ERROR"), map(_row, letters))
    else:
        say("No dead letters.")


def show(job_id: JobId, *, as_json: Json = False) -> None:
    """Show everything about one dead letter.

    [bold]Example[/bold]

      storyboard dead-letters show 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d
    """
    with connect_queues() as queues:
        letter = _find(queues, job_id)
    if as_json:
        print_proto(letter)
        return
    print_details(letter.job)
    print_line(f"{'calls':<14} {letter.provider_calls}, of unknown outcome: {letter.unknown_outcomes}")


def redrive(
    job_ids: JobIds,
    *,
    prompt: Annotated[str, typer.Option("--prompt", help="Use this prompt instead of the job's.")] = "",
    accept_second_payment: SecondPayment = False,
    as_json: Json = False,
) -> None:
    """Start dead letters again.

    Staged assets are stored and charged videos fetched without a new call. With a new prompt
    the asset is generated again, by a new call. Several are redriven all or none; with --prompt one after the other.

    [bold]Example[/bold]

      storyboard dead-letters redrive 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d --prompt "A calm sea"
    """
    with connect_queues() as queues:
        if prompt:
            requests = [_edited(_find(queues, job_id).job, prompt) for job_id in job_ids]
        else:
            requests = [RedriveDeadLettersRequest(job_ids=job_ids)]
        jobs: list[Job] = []
        for request in requests:
            request.accept_second_payment = accept_second_payment
            jobs += queues.redrive(request)
    if as_json:
        print_proto(RedriveDeadLettersResponse(jobs=jobs))
    else:
        print_jobs(jobs)


def discard(job_ids: JobIds, *, as_json: Json = False) -> None:
    """Discard dead letters, all or none.

    They become CANCELLED; their staged assets are not stored.

    [bold]Example[/bold]

      storyboard dead-letters discard 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d
    """
    with connect_queues() as queues:
        jobs = queues.discard(job_ids)
    if as_json:
        print_proto(DiscardDeadLettersResponse(jobs=jobs))
    else:
        print_jobs(jobs)


def _find(queues: Queues, job_id: str) -> DeadLetter:
    for letter in queues.dead_letters(job_ids=[job_id]):
        return letter
    raise CommandError(ExitCode.FAILED, [f"job {job_id} is not a dead letter"])


def _edited(job: Job, prompt: str) -> RedriveDeadLettersRequest:
    """What the job asked for, with another prompt."""
    request = RedriveDeadLettersRequest(job_ids=[job.id])
    kind = KINDS.get(kind_name(job.kind))
    field = job.WhichOneof("generation") or (kind.field if kind else "")
    if not field:
        raise CommandError(ExitCode.FAILED, [f"job {job.id} is of a kind that has no prompt here; redrive it without"])
    asked = getattr(request, field)
    asked.CopyFrom(getattr(job, field))
    asked.prompt = prompt
    return request


def _row(letter: DeadLetter) -> list[Text]:
    job = letter.job
    counts = (str(letter.provider_calls), str(letter.unknown_outcomes))
    words = (
        job.id,
        job.WhichOneof("generation") or kind_name(job.kind) or "unknown",
        entity_of(job),
        *counts,
        time_text(job.end_time),
        error_text(job.error),
    )
    return [Text(word) for word in words]
