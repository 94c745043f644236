"""`record-operation`: enter the name of an operation that was found in a log or in the provider's console."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.queue_client import connect_queues
from storyboard.commands.jobs import JobId
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_proto
from storyboard.terminal.views import print_jobs

OperationName = Annotated[
    str, typer.Argument(metavar="OPERATION", help="The operation's name, or the interaction's id.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("record-operation", rich_help_panel="Operate")(record_operation)


def record_operation(job_id: JobId, operation: OperationName, *, as_json: Json = False) -> None:
    """Record the operation name of a video whose submit got no response.

    The video may already be charged; with the name it is polled and stored without another call. The worker's log has
    the name as "Operation accepted". Needs the role service_role.

    [bold]Example[/bold]

      storyboard record-operation 01938f6e-7c1a-7b3e-9d55-3f3c5a1b2c4d v1_ChdpbnRlcmFjdGlvbg
    """
    with connect_queues() as queues:
        job = queues.record_operation(job_id, operation)
    if as_json:
        print_proto(job)
    else:
        print_jobs([job])
