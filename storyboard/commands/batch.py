"""`batch-images` and `batch-videos`: many jobs from one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from storyboard.api.client import Ingest, connect_ingest
from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.rpc_errors import advice, status_lines
from storyboard.commands.batch_file import Batch, calls, read_batch
from storyboard.terminal.options import RUN_PANEL, Labels, RunJson, parse_labels
from storyboard.terminal.output import print_line, say
from storyboard.terminal.views import SUCCEEDED, print_jobs
from storyboard.terminal.waiting import exit_by, wait_for
from superstoryboard.domain.kinds import IMAGE, VIDEO, Kind
from superstoryboard.v1.job_pb2 import Job

PANEL = "Generate"
File = Annotated[Path, typer.Argument(metavar="FILE.json", help="JSON array of messages.", show_default=False)]
RequestId = Annotated[
    str,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Items get ID-0, ID-1, …: sending the file again creates no second jobs.",
        rich_help_panel=RUN_PANEL,
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Print the job ids and do not wait.", rich_help_panel=RUN_PANEL)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("batch-images", rich_help_panel=PANEL)(batch_images)
    app.command("batch-videos", rich_help_panel=PANEL)(batch_videos)


def batch_images(
    file: File,
    *,
    request_id: RequestId = "",
    label: Labels = [],  # noqa: B006 - typer copies it
    detach: Detach = False,
    as_json: RunJson = False,
) -> None:
    """Generate many images from a file.

    An invalid item is reported by its index, from 0, and does not stop the others.

    An item: {"storyboardId", "sceneId"?, "characterId"?, "prompt", "sourceImageUrl"?, "editMode"?}

    [bold]Example[/bold]

      storyboard batch-images examples/test-prompts.json
    """
    _run(file, IMAGE, request_id, label, detach=detach, as_json=as_json)


def batch_videos(
    file: File,
    *,
    request_id: RequestId = "",
    label: Labels = [],  # noqa: B006 - typer copies it
    detach: Detach = False,
    as_json: RunJson = False,
) -> None:
    """Generate many videos from a file.

    An invalid item is reported by its index, from 0, and does not stop the others.

    An item: {"storyboardId", "sceneId"?, "characterId"?, "prompt", "sourceImageUrl"?, "aspectRatio"?,
    "durationSeconds"?, "resolution"?}

    [bold]Example[/bold]

      storyboard batch-videos my-videos.json --request-id monday
    """
    _run(file, VIDEO, request_id, label, detach=detach, as_json=as_json)


def _run(file: Path, kind: Kind, request_id: str, label: list[str], *, detach: bool, as_json: bool) -> None:
    batch = read_batch(file, kind, request_id=request_id, labels=parse_labels(label))
    with connect_ingest() as ingest:
        jobs = _send(ingest, batch)
        say(*(f"item {index}: {line}" for index, lines in sorted(batch.bad.items()) for line in lines), *batch.advice)
        if jobs and not detach:
            jobs = dict(zip(jobs, wait_for(ingest, list(jobs.values())), strict=True))
    if as_json:
        _print_json(jobs, batch)
    elif detach:
        for job in jobs.values():
            print_line(job.id)
    else:
        _print_table(jobs, batch)
    if batch.bad:
        raise typer.Exit(ExitCode.FAILED)
    if not detach:
        exit_by(list(jobs.values()))


def _send(ingest: Ingest, batch: Batch) -> dict[int, Job]:
    """Jobs by index; items that the service refuses join the bad ones, and what to do about them is said once."""
    jobs: dict[int, Job] = {}
    for portion in calls(batch.good):
        try:
            results = ingest.create_batch(list(portion.values()))
        except CommandError as error:
            if jobs:
                error.lines.append(f"{len(jobs)} jobs were accepted before this error. List: storyboard jobs")
            raise
        for index, result in zip(portion, results, strict=True):
            if result.HasField("job"):
                jobs[index] = result.job
            else:
                batch.bad[index] = status_lines(result.error)
                batch.advice |= dict.fromkeys(advice(result.error))
    return jobs


def _print_json(jobs: dict[int, Job], batch: Batch) -> None:
    """One element per item of the file, in its order: the job as proto JSON, or the errors."""
    forms: dict[int, dict[str, Any]] = {index: {"job": MessageToDict(job)} for index, job in jobs.items()}
    forms |= {index: {"errors": lines} for index, lines in batch.bad.items()}
    print_line(json.dumps([{"index": index, **form} for index, form in sorted(forms.items())], indent=2))


def _print_table(jobs: dict[int, Job], batch: Batch) -> None:
    if jobs:
        print_jobs(jobs.values())
    succeeded = sum(job.state == SUCCEEDED for job in jobs.values())
    print_line(f"{succeeded} of {len(jobs) + len(batch.bad)} items succeeded")
