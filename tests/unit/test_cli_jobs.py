"""`watch`, `jobs`, `job`: reading what became of jobs."""

import json
from collections.abc import Iterator

import pytest
from google.protobuf.json_format import MessageToDict

from storyboard.api import client
from superstoryboard.v1 import generation_service_pb2 as api
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import job_id


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        for prompt in ("A tower", "fail", "Waves"):
            running("image", prompt, "--scene", prompt.split()[-1], "--detach")
        running.script.requests.clear()
        yield running


def test_jobs_sends_its_filters(cli: Cli) -> None:
    filters = [
        "--storyboard=b",
        "--scene=s",
        "--character=c",
        "--state=failed",
        "--state=DEAD_LETTERED",
        "--kind=video",
    ]
    assert cli("jobs", *filters, "--since=2026-11-21", "--before=2026-11-22T12:00:00", "--limit=7").code == 0
    [request] = cli.script.of_type(api.ListJobsRequest)
    assert MessageToDict(request) == {
        "storyboardId": "b",
        "sceneId": "s",
        "characterId": "c",
        "states": ["JOB_STATE_FAILED", "JOB_STATE_DEAD_LETTERED"],
        "kind": "JOB_KIND_VIDEO",
        "createdFrom": "2026-11-21T00:00:00Z",
        "createdBefore": "2026-11-22T12:00:00Z",
        "pageSize": 7,
    }


def test_jobs_prints_a_row_per_job(cli: Cli) -> None:
    result = cli("jobs")
    assert result.code == 0
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0][:4] == ["JOB", "KIND", "ENTITY", "STATE"]
    assert [row[0] for row in rows[1:]] == [job_id(1), job_id(2), job_id(3)]
    assert "FAILED" in rows[2]


def test_jobs_reads_page_after_page_up_to_the_limit(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 1)
    jobs = cli("jobs", "--json", "--limit=2").json["jobs"]
    assert [job["id"] for job in jobs] == [job_id(1), job_id(2)]
    assert len(cli.script.of_type(api.ListJobsRequest)) == 2


def test_jobs_without_a_match_says_so(cli: Cli) -> None:
    result = cli("jobs", "--state=RETRYING")
    assert (result.code, result.out, result.err) == (0, "", "No jobs match.\n")


def test_job_shows_what_is_set(cli: Cli) -> None:
    lines = dict(line.split(maxsplit=1) for line in cli("job", job_id(2)).out.splitlines())
    assert lines["state"] == "FAILED"
    assert lines["scene"] == "fail"
    assert lines["error"] == "REFUSED/SAFETY: the provider refuses the prompt"
    assert "url" not in lines


def test_job_json_is_the_job(cli: Cli) -> None:
    assert cli("job", job_id(1), "--json").json == MessageToDict(cli.script.jobs[job_id(1)])


def test_an_unknown_job_exits_1(cli: Cli) -> None:
    result = cli("job", job_id(99))
    assert result.code == 1
    assert result.err.splitlines()[0] == f"job {job_id(99)} does not exist (NOT_FOUND)"


def test_watch_of_jobs_ends_with_their_results(cli: Cli) -> None:
    result = cli("watch", job_id(1), job_id(2))
    assert result.code == 1
    assert f"SUCCEEDED {job_id(1)}" in result.out
    assert f"FAILED {job_id(2)}" in result.out
    assert cli("watch", job_id(1), job_id(1)).code == 0


def test_watch_prints_events_as_json_lines(cli: Cli) -> None:
    result = cli("watch", job_id(1), "--json")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["sequence"] for event in events] == [str(number) for number in range(1, 10)]


def test_watch_of_a_storyboard_starts_after_a_sequence(cli: Cli) -> None:
    result = cli("watch", "--storyboard=test-storyboard", "--after=6")
    assert result.code == 0
    [request] = cli.script.of_type(api.WatchJobsRequest)
    assert (request.storyboard_id, request.after_sequence, request.until_terminal) == ("test-storyboard", 6, True)
    assert job_id(3) in result.out
    assert job_id(1) not in result.out


def test_watch_of_a_storyboard_as_json_is_its_events_alone(cli: Cli) -> None:
    result = cli("watch", "--storyboard=test-storyboard", "--after=6", "--json")
    assert result.code == 0
    assert [json.loads(line)["sequence"] for line in result.out.splitlines()] == ["7", "8", "9"]


def test_a_video_shows_its_duration(cli: Cli) -> None:
    asset = cli.script.jobs[job_id(1)].asset
    asset.duration.FromSeconds(4)
    assert ", 4 s, sha256 " in cli("job", job_id(1)).out
