"""`queues`, `pause` and `resume`: what waits, and whether workers take it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from storyboard.api.queue_client import connect_queues
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_line, print_proto, print_table
from superstoryboard.domain.kinds import Plural, kind_of_plural
from superstoryboard.v1.queue_service_pb2 import ListQueuesResponse, Queue

PANEL = "Operate"
HEADER = ("QUEUE", "DEPTH", "DUE", "OLDEST", "RUNNING", "STAGED", "DEAD", "CLAIMING")
QueueName = Annotated[Plural, typer.Argument(help="Queue: images or videos.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("queues", rich_help_panel=PANEL)(queues)
    app.command("pause", rich_help_panel=PANEL)(pause)
    app.command("resume", rich_help_panel=PANEL)(resume)


def queues(*, as_json: Json = False) -> None:
    """Show the waiting, running and failed jobs of each queue.

    Needs the role service_role.

    [bold]Example[/bold]

      storyboard queues
    """
    with connect_queues() as service:
        all_queues = service.queues()
    if as_json:
        print_proto(ListQueuesResponse(queues=all_queues))
        return
    print_table(HEADER, map(_row, all_queues))
    # Every queue tells of every gate.
    gates = {(gate.provider, gate.model): gate for queue in all_queues for gate in queue.gates}
    for gate in gates.values():
        print_line(f"{gate.provider} {gate.model} is paused until {gate.closed_until.ToJsonString()}: {gate.reason}")


def pause(queue: QueueName, *, as_json: Json = False) -> None:
    """Stop workers from claiming jobs of a queue.

    Charged videos are still fetched, and `storyboard process` still works. Needs the role service_role.

    [bold]Example[/bold]

      storyboard pause videos
    """
    with connect_queues() as service:
        _print(service.pause(kind_of_plural(queue).queue), as_json=as_json)


def resume(queue: QueueName, *, as_json: Json = False) -> None:
    """Let workers claim jobs of a queue again.

    Needs the role service_role.

    [bold]Example[/bold]

      storyboard resume videos
    """
    with connect_queues() as service:
        _print(service.resume(kind_of_plural(queue).queue), as_json=as_json)


def _print(queue: Queue, *, as_json: bool) -> None:
    if as_json:
        print_proto(queue)
    else:
        print_table(HEADER, [_row(queue)])


def _row(queue: Queue) -> list[Text]:
    oldest = f"{queue.oldest_age.ToTimedelta().total_seconds():.0f} s" if queue.HasField("oldest_age") else ""
    counts = (str(queue.in_flight), str(queue.staged), str(queue.dead_lettered))
    claiming = Text("paused", "yellow") if queue.paused else Text("on")
    return [*(Text(word) for word in (queue.name, str(queue.depth), str(queue.due), oldest, *counts)), claiming]
