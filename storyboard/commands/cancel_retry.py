"""`cancel` and `retry`: change what jobs do next."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.client import connect_ingest
from storyboard.api.errors import CommandError, ExitCode
from storyboard.commands.jobs import JobId
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_proto
from storyboard.terminal.views import print_jobs
from superstoryboard.v1.generation_service_pb2 import ListJobsResponse
from superstoryboard.v1.job_pb2 import Job

PANEL = "Control"
SecondPayment = Annotated[
    bool,
    typer.Option(
        "--accept-second-payment",
        help="Call the provider again although an earlier call may have been charged. Needs the role service_role.",
    ),
]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB_ID", help="UUIDs of the jobs.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("cancel", rich_help_panel=PANEL)(cancel)
    app.command("retry", rich_help_panel=PANEL)(retry)


def cancel(job_ids: JobIds, *, as_json: Json = False) -> None:
    """Cancel jobs that have not ended.

    A cancelled job stays cancelled; a job that ended otherwise is reported and does not stop the others.
    A video that the provider is generating is still charged, but not stored; `storyboard retry` fetches it later.

    [bold]Example[/bold]

      storyboard cancel 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d
    """
    jobs: list[Job] = []
    refusals: list[str] = []
    with connect_ingest() as ingest:
        for job_id in job_ids:
            try:
                jobs.append(ingest.cancel(job_id))
            except CommandError as error:
                if error.exit_code is not ExitCode.FAILED:
                    raise
                refusals += error.lines
    if as_json:
        print_proto(ListJobsResponse(jobs=jobs))
    elif jobs:
        print_jobs(jobs)
    if refusals:
        raise CommandError(ExitCode.FAILED, list(dict.fromkeys(refusals)))


def retry(job_id: JobId, *, accept_second_payment: SecondPayment = False, as_json: Json = False) -> None:
    """Start a failed, dead-lettered or cancelled job again.

    An asset that is already charged is stored or fetched; otherwise there is a new call.

    [bold]Example[/bold]

      storyboard retry 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d
    """
    with connect_ingest() as ingest:
        job = ingest.retry(job_id, accept_second_payment=accept_second_payment)
    if as_json:
        print_proto(job)
    else:
        print_jobs([job])
