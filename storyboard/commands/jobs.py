"""`watch`, `jobs` and `job`: what became of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from storyboard.api.client import PAGE_SIZE, Ingest, connect_ingest
from storyboard.terminal.follow import Display, follow_jobs, follow_storyboard
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_proto, say
from storyboard.terminal.progress import progress_display
from storyboard.terminal.views import entity_of, print_details, print_jobs, print_result
from storyboard.terminal.waiting import exit_by, jobs_go_on
from superstoryboard.domain.kinds import KINDS, kind_number
from superstoryboard.domain.states import STATES, state_value
from superstoryboard.v1.generation_service_pb2 import ListJobsRequest, ListJobsResponse
from superstoryboard.v1.job_pb2 import Job, JobEvent

PANEL = "Follow"
DEFAULT_LIMIT = 50
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="UUID of the job.", show_default=False)]


# The members are those of the domain, which mypy cannot count.
StateWord = StrEnum("StateWord", [(name, name) for name in STATES])  # type: ignore[misc]
KindWord = StrEnum("KindWord", [(name, name) for name in KINDS])  # type: ignore[misc]
STATE_HELP = f"Jobs in this state; may be repeated: {', '.join(StateWord)}."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("watch", rich_help_panel=PANEL)(watch)
    app.command("jobs", rich_help_panel=PANEL)(jobs)
    app.command("job", rich_help_panel=PANEL)(job)


def watch(
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="JOB_ID", help="IDs of the jobs to follow.")] = None,
    *,
    storyboard: Annotated[
        str, typer.Option("--storyboard", metavar="ID", help="Follow all jobs of this storyboard instead.")
    ] = "",
    after: Annotated[
        int,
        typer.Option(
            "--after", metavar="SEQUENCE", min=0, help="With --storyboard: only events after this sequence number."
        ),
    ] = 0,
    stay: Annotated[
        bool, typer.Option("--stay", help="With --storyboard: keep waiting for new jobs, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as JSON on a line of stdout.")] = False,
) -> None:
    """Follow jobs until all have ended.

    Shows past events first, then live ones.

    [bold]Examples[/bold]

      storyboard watch 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d

      storyboard watch --storyboard my-storyboard --stay
    """
    if bool(job_ids) == bool(storyboard):
        raise typer.BadParameter("give either job ids or --storyboard")
    with connect_ingest() as ingest:
        if job_ids:
            ended = _watch_jobs(ingest, list(dict.fromkeys(job_ids)), as_json=as_json)
        else:
            ended = _watch_storyboard(ingest, storyboard, after, stay=stay, as_json=as_json)
    exit_by(ended)


def jobs(
    *,
    storyboard: Annotated[str, typer.Option("--storyboard", metavar="ID", help="Jobs of this storyboard.")] = "",
    scene: Annotated[str, typer.Option("--scene", metavar="ID", help="Jobs of this scene.")] = "",
    character: Annotated[str, typer.Option("--character", metavar="ID", help="Jobs of this character.")] = "",
    state: Annotated[
        list[StateWord] | None,
        typer.Option("--state", metavar="STATE", help=STATE_HELP, case_sensitive=False),
    ] = None,
    kind: Annotated[KindWord | None, typer.Option("--kind", help="Jobs of this kind.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Created at or after this time, in UTC.")] = None,
    before: Annotated[datetime | None, typer.Option("--before", help="Created before this time, in UTC.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Maximum number of results.")
    ] = DEFAULT_LIMIT,
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    Jobs must match all filters.

    [bold]Examples[/bold]

      storyboard jobs --state FAILED --state DEAD_LETTERED

      storyboard jobs --kind video --since 2026-11-21 --json
    """
    filters = ListJobsRequest(
        storyboard_id=storyboard,
        scene_id=scene,
        character_id=character,
        states=[state_value(word) for word in state or []],
        kind=kind_number(kind),
        created_from=_timestamp(since),
        created_before=_timestamp(before),
    )
    with connect_ingest() as ingest:
        jobs = ingest.list_jobs(filters, limit)
    _show(jobs, as_json=as_json)


def _show(jobs: list[Job], *, as_json: bool) -> None:
    if as_json:
        print_proto(ListJobsResponse(jobs=jobs))
    elif jobs:
        print_jobs(jobs)
    else:
        say("No jobs match.")


def job(job_id: JobId, *, as_json: Json = False) -> None:
    """Show everything about one job.

    [bold]Example[/bold]

      storyboard job 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d --json
    """
    with connect_ingest() as ingest:
        job_message = ingest.get(job_id)
    if as_json:
        print_proto(job_message)
    else:
        print_details(job_message)


def _watch_jobs(ingest: Ingest, job_ids: list[str], *, as_json: bool) -> list[Job]:
    names = {job_id: entity_of(ingest.get(job_id)) for job_id in job_ids}
    with jobs_go_on(job_ids), progress_display(names) as display:
        ended = follow_jobs(ingest, job_ids, EventLines(display) if as_json else display)
    if not as_json:
        for ended_job in ended:
            print_result(ended_job)
    return ended


def _watch_storyboard(ingest: Ingest, storyboard_id: str, after: int, *, stay: bool, as_json: bool) -> list[Job]:
    of_storyboard = ListJobsRequest(storyboard_id=storyboard_id)
    names = {each.id: entity_of(each) for each in ingest.list_jobs(of_storyboard, PAGE_SIZE)}
    with jobs_go_on([]), progress_display(names) as display:
        collector = JobCollector(EventLines(display) if as_json else display)
        follow_storyboard(ingest, storyboard_id, collector, after_sequence=after, stay=stay)
    ended = [ingest.get(job_id) for job_id in collector.job_ids]
    if not as_json:
        print_jobs(ended)
    return ended


class EventLines:
    """Events as JSON lines on stdout; notes as ever."""

    def __init__(self, notes: Display) -> None:
        self._notes = notes

    def show(self, event: JobEvent) -> None:
        print_proto(event, indent=None)

    def note(self, sentence: str) -> None:
        self._notes.note(sentence)


class JobCollector:
    """Passes events on and remembers whose they were."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.job_ids: dict[str, None] = {}

    def show(self, event: JobEvent) -> None:
        self.job_ids[event.job_id] = None
        self._display.show(event)

    def note(self, sentence: str) -> None:
        self._display.note(sentence)


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time.replace(tzinfo=time.tzinfo or UTC))
    return stamp
