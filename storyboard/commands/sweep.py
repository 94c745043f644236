"""`sweep`: runs the periodic duties now; what the CronJob of Kubernetes calls."""

from __future__ import annotations

import typer

from storyboard.api.client import CALL_SECONDS, caller_metadata, connect
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import ingest_endpoint
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_line, print_proto
from superstoryboard.v1 import queue_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2_grpc

# A sweep works in batches, but on a large backlog it takes longer than a plain call.
SWEEP_SECONDS = CALL_SECONDS * 4


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("sweep", rich_help_panel="Operate")(sweep)


def sweep(*, as_json: Json = False) -> None:
    """Run the periodic maintenance once.

    Cancels jobs whose queue message was removed, creates jobs for messages sent by SQL, recovers jobs whose worker
    is gone, buries and discards what is too old, and deletes old history.
    Needs the role service_role.
    Safe to run twice at once: the second does nothing.

    [bold]Example[/bold]

      storyboard sweep
    """
    endpoint = ingest_endpoint()
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = queue_service_pb2_grpc.QueueServiceStub(channel)
        answer = stub.Sweep(api.SweepRequest(), timeout=SWEEP_SECONDS, metadata=caller_metadata())
    if as_json:
        print_proto(answer)
    else:
        for duty in answer.duties:
            print_line(f"{duty.name}: failed ({duty.error})" if duty.error else f"{duty.name}: {duty.count}")
        if not answer.duties:
            print_line("Another sweep is running.")
    if any(duty.error for duty in answer.duties):
        raise typer.Exit(1)
