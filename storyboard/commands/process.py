"""`process images|videos`: makes a worker process waiting messages now."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from storyboard.api.client import process_queue
from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import worker_endpoint
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_json, print_line, print_table
from superstoryboard.domain.kinds import Plural, kind_of_plural
from superstoryboard.v1.worker_service_pb2 import ProcessQueueResponse, ProcessResult

DEFAULT_TIMEOUT_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("process", rich_help_panel="Operate")(process)


def process(
    queue: Annotated[Plural, typer.Argument(help="Queue: images or videos.", show_default=False)],
    *,
    max_messages: Annotated[
        int | None,
        typer.Option(
            "--max", metavar="N", min=1, max=100, help="Maximum number of messages; default 5 images or 1 video."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=1, help="Jobs that take longer are reported as still running."
        ),
    ] = DEFAULT_TIMEOUT_SECONDS,
    as_json: Json = False,
) -> None:
    """Process waiting messages now.

    Also works on a paused queue. Prints the result of each message.

    With --json any failed call prints {"error":"…"} and exits with 1.

    [bold]Example[/bold]

      storyboard process images --max 10 --json
    """
    try:
        answer = process_queue(worker_endpoint(kind_of_plural(queue)), max_messages or 0, timeout)
    except CommandError as error:
        if not as_json:
            raise
        print_json({"error": "; ".join(error.lines)})
        raise typer.Exit(ExitCode.FAILED) from error
    if as_json:
        print_json(answer_json(answer))
    else:
        _print_answer(answer)
    if not all(result.success for result in answer.results):
        raise typer.Exit(ExitCode.FAILED)


def answer_json(answer: ProcessQueueResponse) -> dict[str, Any]:
    """The form that scripts of the queue system read: no results where nothing was processed, numbers as numbers."""
    form: dict[str, Any] = {"message": answer.message, "processed": answer.processed}
    if answer.processed:
        form["results"] = [_result_json(result) for result in answer.results]
    return form


def _result_json(result: ProcessResult) -> dict[str, Any]:
    texts = {
        "sceneId": result.scene_id,
        "characterId": result.character_id,
        "imageUrl": result.image_url,
        "videoUrl": result.video_url,
        "error": result.error,
    }
    present = {name: text for name, text in texts.items() if text}
    return {"success": result.success, **present, "msg_id": result.msg_id}


def _print_answer(answer: ProcessQueueResponse) -> None:
    print_line(answer.message)
    if not answer.results:
        return
    print_table(("MESSAGE", "ENTITY", "DONE", "RESULT"), map(_row, answer.results))


def _row(result: ProcessResult) -> list[Text]:
    done = Text("yes", "green") if result.success else Text("no", "red")
    outcome = result.image_url or result.video_url or result.error
    return [Text(str(result.msg_id)), Text(result.scene_id or result.character_id), done, Text(outcome)]
