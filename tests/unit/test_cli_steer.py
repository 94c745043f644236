"""`cancel`, `retry`, `dead-letters`, `queues`, `pause`, `resume`: what people decide."""

from collections.abc import Iterator

import pytest
from google.protobuf.json_format import MessageToDict

from storyboard.api import queue_client
from superstoryboard.rpc.errors import unavailable
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import job_id

DONE, FIRST, SECOND = job_id(1), job_id(2), job_id(3)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Job 1 succeeded; 2, an image, and 3, a video, are dead letters."""
    with running_cli(capsys, monkeypatch) as running:
        running("image", "A tower", "--detach")
        running("image", "bury it", "--scene", "s2", "--detach")
        running("video", "bury it", "--scene", "s3", "--duration=4", "--detach")
        running.script.requests.clear()
        yield running


def test_cancel_prints_what_became_of_the_jobs(cli: Cli) -> None:
    result = cli("cancel", FIRST, SECOND)
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == [FIRST, SECOND]
    assert result.out.count("CANCELLED") == 2


def test_cancel_names_what_it_cannot_cancel_and_goes_on(cli: Cli) -> None:
    result = cli("cancel", DONE, FIRST, "--json")
    assert result.code == 1
    assert [job["id"] for job in result.json["jobs"]] == [FIRST]
    assert result.err.splitlines() == [f"job {DONE}: has ended (JOB_STATE)", "`storyboard job JOB` shows its state."]


def test_cancel_of_nothing_that_can_be_prints_no_table(cli: Cli) -> None:
    result = cli("cancel", DONE, DONE)
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 2)


def test_cancel_gives_up_where_no_service_is(cli: Cli) -> None:
    cli.script.error = unavailable("the database is away")
    result = cli("cancel", FIRST, SECOND)
    assert (result.code, len(cli.script.requests)) == (3, 1)


def test_retry_passes_the_agreement_on(cli: Cli) -> None:
    assert cli("retry", FIRST, "--json").json["state"] == "JOB_STATE_QUEUED"
    assert "QUEUED" in cli("retry", SECOND, "--accept-second-payment").out
    asked = [(each.job_id, each.accept_second_payment) for each in cli.script.of_type(api.RetryJobRequest)]
    assert asked == [(FIRST, False), (SECOND, True)]


def test_retry_of_a_job_that_succeeded_exits_1(cli: Cli) -> None:
    result = cli("retry", DONE)
    assert (result.code, result.out) == (1, "")
    assert "JOB_STATE" in result.err


def test_dead_letters_are_listed_with_their_calls(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_client, "PAGE_SIZE", 1)
    rows = [line.split() for line in cli("dead-letters", "list").out.splitlines()]
    assert rows[0] == ["JOB", "KIND", "ENTITY", "CALLS", "UNKNOWN", "ENDED", "ERROR"]
    assert [row[:5] for row in rows[1:]] == [[FIRST, "image", "s2", "2", "1"], [SECOND, "video", "s3", "2", "1"]]
    limited = cli("dead-letters", "list", "--queue=videos", "--limit=1", "--json").json["deadLetters"]
    assert [letter["job"]["id"] for letter in limited] == [FIRST]
    assert cli.script.of_type(queue.ListDeadLettersRequest)[-1].queue == "video_generation_queue"


def test_no_dead_letters_are_said_to_be_none(cli: Cli) -> None:
    assert cli("dead-letters", "discard", FIRST, SECOND).code == 0
    result = cli("dead-letters", "list")
    assert (result.code, result.out, result.err) == (0, "", "No dead letters.\n")


def test_a_dead_letter_is_shown(cli: Cli) -> None:
    lines = dict(line.split(maxsplit=1) for line in cli("dead-letters", "show", SECOND).out.splitlines())
    assert lines["state"] == "DEAD_LETTERED"
    assert lines["calls"] == "2, of unknown outcome: 1"
    assert cli("dead-letters", "show", SECOND, "--json").json["unknownOutcomes"] == 1
    missing = cli("dead-letters", "show", DONE)
    assert (missing.code, missing.err) == (1, f"job {DONE} is not a dead letter\n")


def test_dead_letters_are_redriven_in_one_call(cli: Cli) -> None:
    result = cli("dead-letters", "redrive", FIRST, SECOND, "--accept-second-payment", "--json")
    assert [job["state"] for job in result.json["jobs"]] == ["JOB_STATE_QUEUED"] * 2
    [request] = cli.script.of_type(queue.RedriveDeadLettersRequest)
    assert MessageToDict(request) == {"jobIds": [FIRST, SECOND], "acceptSecondPayment": True}


def test_a_new_prompt_keeps_the_rest_of_what_each_job_asked_for(cli: Cli) -> None:
    assert cli("dead-letters", "redrive", FIRST, SECOND, "--prompt", "A calm sea").code == 0
    first, second = cli.script.of_type(queue.RedriveDeadLettersRequest)
    assert (list(first.job_ids), first.image.scene_id, first.image.prompt) == ([FIRST], "s2", "A calm sea")
    assert (second.video.scene_id, second.video.duration_seconds, second.video.prompt) == ("s3", "4", "A calm sea")


def test_a_dead_letter_of_a_younger_kind_is_shown_as_unknown_and_takes_no_prompt(cli: Cli) -> None:
    job = cli.script.jobs[FIRST]
    job.kind = 4711  # type: ignore[assignment]  # a kind of a later release
    job.ClearField("image")
    assert "unknown" in next(line for line in cli("dead-letters", "list").out.splitlines() if FIRST in line)
    refused = cli("dead-letters", "redrive", FIRST, "--prompt", "A calm sea")
    assert (refused.code, refused.err.count(FIRST)) == (1, 1)
    assert cli("dead-letters", "redrive", FIRST).code == 0


def test_discarded_dead_letters_are_cancelled(cli: Cli) -> None:
    result = cli("dead-letters", "discard", FIRST, "--json")
    assert [job["state"] for job in result.json["jobs"]] == ["JOB_STATE_CANCELLED"]


def test_a_name_from_a_log_is_recorded(cli: Cli) -> None:
    result = cli("record-operation", SECOND, "v1_abc", "--json")
    assert result.json["state"] == "JOB_STATE_RUNNING"
    [request] = cli.script.of_type(queue.RecordOperationRequest)
    assert MessageToDict(request) == {"jobId": SECOND, "operationName": "v1_abc"}
    assert "RUNNING" in cli("record-operation", SECOND, "v1_abc").out
    assert cli("record-operation", SECOND).code == 2


def test_queues_pause_and_resume(cli: Cli) -> None:
    assert cli("pause", "videos", "--json").json == {"name": "video_generation_queue", "depth": "3", "paused": True}
    claiming = {line.split()[0]: line.split()[-1] for line in cli("queues").out.splitlines()[1:]}
    assert claiming == {"image_generation_queue": "on", "video_generation_queue": "paused"}
    assert cli("resume", "videos").out.splitlines()[1].split()[-1] == "on"
    assert len(cli("queues", "--json").json["queues"]) == 2
    assert cli("pause", "sounds").code == 2


def test_models_that_wait_for_the_provider_are_named_once(cli: Cli) -> None:
    for each in cli.script.queues.values():
        gate = each.gates.add(provider="google", model="veo", reason="the daily quota is exhausted")
        gate.closed_until.FromJsonString("2026-01-02T08:00:00Z")
    told = "google veo is paused until 2026-01-02T08:00:00Z: the daily quota is exhausted"
    assert cli("queues").out.splitlines()[-1:] == [told]
    assert cli("queues").out.count("google veo") == 1


def test_a_sweep_whose_duty_failed_exits_1(cli: Cli) -> None:
    duties = [queue.SweepDuty(name="adopt_messages", count=2), queue.SweepDuty(name="recover_leases", error="locked")]
    cli.script.swept.duties.extend(duties)
    result = cli("sweep")
    assert (result.code, result.out) == (1, "adopt_messages: 2\nrecover_leases: failed (locked)\n")


def test_a_second_sweep_at_once_says_so(cli: Cli) -> None:
    assert (cli("sweep").code, cli("sweep").out) == (0, "Another sweep is running.\n")


@pytest.mark.parametrize("command", ["list", "show", "redrive", "discard"])
def test_every_command_on_dead_letters_has_help(cli: Cli, command: str) -> None:
    result = cli("dead-letters", command, "--help")
    assert result.code == 0
    assert f"storyboard dead-letters {command}" in result.out
