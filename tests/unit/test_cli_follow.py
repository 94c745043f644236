"""Following jobs: many at once, through a service that goes away, shown as bars or lines."""

import io

import grpc
import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from storyboard.api.client import Ingest, connect
from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import Endpoint
from storyboard.commands.jobs import EventLines, JobCollector
from storyboard.terminal import follow, waiting
from storyboard.terminal.progress import MAX_BARS, Bars, Lines, progress_display
from superstoryboard.rpc.errors import ApiError
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.job_pb2 import JobEvent, JobState
from tests.unit.cli_script import Script
from tests.unit.cli_server import job_id, scripted_server


class Shown:
    """A display that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[int] = []
        self.notes: list[str] = []

    def show(self, event: JobEvent) -> None:
        self.events.append(event.sequence)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def ingest(channel: grpc.Channel, address: str) -> Ingest:
    return Ingest(Endpoint("ingest service", "INGEST_ADDRESS", address), GenerationServiceStub(channel), ())


def test_more_jobs_than_one_watch_takes_are_followed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "WATCHED_AT_ONCE", 2)
    script = Script()
    with scripted_server(script) as address, connect(Endpoint("", "", address)) as channel:
        service = ingest(channel, address)
        request = api.CreateImageJobRequest()
        request.image.prompt = "A tower"
        ids = [service.create_image(request).id for _ in range(5)]
        ended = follow.follow_jobs(service, ids, Shown())
    assert [job.id for job in ended] == ids
    assert [len(watch.job_ids) for watch in script.of_type(api.WatchJobsRequest)] == [2, 2, 1]


def test_events_come_once_over_streams_that_break_and_go_on_at_once() -> None:
    script = Script(breaks=3)
    shown = Shown()
    with scripted_server(script) as address, connect(Endpoint("", "", address)) as channel:
        service = ingest(channel, address)
        job = service.create_video(api.CreateVideoJobRequest())
        follow.follow_jobs(service, [job.id], shown)
    assert shown.events == [1, 2, 3]
    assert [watch.after_sequence for watch in script.of_type(api.WatchJobsRequest)] == [0, 1, 2, 3]
    assert shown.notes == []


def test_a_stream_that_breaks_right_behind_another_is_told_once() -> None:
    script = Script(fruitless=3)
    shown = Shown()
    with scripted_server(script) as address, connect(Endpoint("", "", address)) as channel:
        watch = api.WatchJobsRequest(storyboard_id="board")
        service = ingest(channel, address)
        follow._Follower(service, watch, shown, lambda: not script.fruitless).run()
    assert shown.notes == ["The connection was lost; resuming after event 0."]


def test_a_refused_watch_ends_at_once() -> None:
    script = Script()
    with scripted_server(script) as address, connect(Endpoint("", "", address)) as channel:
        script.error = ApiError(grpc.StatusCode.PERMISSION_DENIED, "NO", "not yours")
        service = ingest(channel, address)
        with pytest.raises(CommandError, match="not yours") as raised:
            follow.follow_jobs(service, [job_id(1)], Shown())
    assert raised.value.exit_code is ExitCode.FAILED
    assert len(script.requests) == 1


def test_a_service_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "GIVE_UP_SECONDS", -1.0)
    address = "127.0.0.1:1"
    with connect(Endpoint("", "", address)) as channel:
        service = ingest(channel, address)
        with pytest.raises(CommandError) as raised, waiting.jobs_go_on([job_id(1)]):
            follow.follow_jobs(service, [job_id(1)], Shown())
    assert raised.value.exit_code is ExitCode.UNREACHABLE
    assert raised.value.lines[-1] == f"The job continues. Follow: storyboard watch {job_id(1)}"


def test_bars_name_the_entity_and_the_state() -> None:
    shown = bars({job_id(1): "scene-001"}, [event(1, JobState.JOB_STATE_RUNNING, 40, "polling [2]")])
    assert "scene-001 RUNNING" in shown
    assert "polling [2]" in shown


def test_many_jobs_share_one_bar() -> None:
    names = {job_id(number): f"scene-{number}" for number in range(MAX_BARS + 1)}
    ended = [event(number, JobState.JOB_STATE_SUCCEEDED, 100, "") for number in range(3)]
    again = event(2, JobState.JOB_STATE_QUEUED, 0, "redriven")
    shown = bars(names, [*ended, again])
    assert f"all jobs 2 of {len(names)} ended" in shown
    assert "scene-1" not in shown


def test_lines_hold_id_name_state_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    Lines({job_id(1): "scene-001"}).show(event(1, JobState.JOB_STATE_RUNNING, 40, "polling [2]"))
    assert capsys.readouterr().err == f"{job_id(1)} scene-001 RUNNING 40% polling [2]\n"


def test_notes_go_past_collectors_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    JobCollector(EventLines(shown)).note("The connection was lost.")
    assert (shown.notes, capsys.readouterr().out) == (["The connection was lost."], "")


def test_on_a_terminal_there_are_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_display({job_id(1): "scene-001"}) as display:
        for percent in (40, 60):
            display.show(event(1, JobState.JOB_STATE_RUNNING, percent, "polling [2]"))
        display.note("The connection was lost [1].")
    assert isinstance(display, Bars)
    assert [task.completed for task in display._progress.tasks] == [60]
    assert "The connection was lost [1]." in capsys.readouterr().err


def event(number: int, state: JobState, percent: int, message: str) -> JobEvent:
    return JobEvent(job_id=job_id(number), state=state, progress_percent=percent, message=message)


def bars(names: dict[str, str], events: list[JobEvent]) -> str:
    """The last picture of the bars."""
    console = Console(file=io.StringIO(), width=120, record=True)
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[message]}", markup=False))
    progress = Progress(*columns, console=console, auto_refresh=False)
    display = Bars(progress, names)
    for each in events:
        display.show(each)
    console.print(progress.get_renderable())
    return console.export_text()
