"""`batch-images` and `batch-videos`: good items go, bad ones are named by their index."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storyboard.commands import batch_file
from superstoryboard.rpc.errors import unavailable
from superstoryboard.v1 import generation_service_pb2 as api
from tests.unit.cli_fixture import Cli, running_cli
from tests.unit.cli_server import job_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batch.json"


def write(file: Path, *items: Any) -> str:
    file.write_text(json.dumps(items), encoding="utf-8")
    return str(file)


def item(number: int, prompt: str = "A tower") -> dict[str, Any]:
    return {"storyboardId": "board", "sceneId": f"s{number}", "prompt": prompt}


def test_all_items_succeed(cli: Cli, file: Path) -> None:
    result = cli("batch-images", write(file, item(1), item(2)))
    assert result.code == 0
    assert "2 of 2 items succeeded" in result.out
    assert f"http://storage/{job_id(2)}.png" in result.out


def test_the_shipped_file_is_accepted_whole(cli: Cli) -> None:
    result = cli("batch-images", str(ROOT / "examples" / "test-prompts.json"))
    assert (result.code, "item" in result.err) == (0, False)


def test_numbers_become_strings_and_null_is_absent(cli: Cli, file: Path) -> None:
    raw = {"storyboardId": 7, "sceneId": None, "prompt": "Waves", "durationSeconds": 8, "unknown": {"a": 1}}
    assert cli("batch-videos", write(file, raw), "--detach").code == 0
    [request] = cli.script.of_type(api.BatchCreateJobsRequest)
    video = request.items[0].video.video
    assert (video.storyboard_id, video.scene_id, video.duration_seconds) == ("7", "", "8")


def test_bad_items_are_named_by_index_and_do_not_stop_the_others(cli: Cli, file: Path) -> None:
    here = item(1) | {"editMode": "yes"}
    there = item(3, prompt="")
    result = cli("batch-images", write(file, item(0), here, [1, 2], there, item(4)))
    assert result.code == 1
    assert "item 1: editMode: must be true or false" in result.err
    assert "item 2: body: must be a JSON object" in result.err
    assert "item 3: image.prompt: must not be empty" in result.err
    assert "2 of 5 items succeeded" in result.out


def test_json_has_an_element_per_item_in_order(cli: Cli, file: Path) -> None:
    result = cli("batch-images", write(file, "text", item(1), item(2, "")), "--json")
    assert result.code == 1
    assert [element["index"] for element in result.json] == [0, 1, 2]
    assert result.json[0]["errors"] == ["body: must be a JSON object"]
    assert result.json[1]["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert result.json[2]["errors"] == ["image.prompt: must not be empty"]


def test_a_failed_job_exits_1(cli: Cli, file: Path) -> None:
    result = cli("batch-images", write(file, item(1), item(2, "fail")))
    assert result.code == 1
    assert "1 of 2 items succeeded" in result.out


def test_detach_prints_ids(cli: Cli, file: Path) -> None:
    result = cli("batch-images", write(file, item(1), item(2)), "--detach")
    assert (result.code, result.out.split()) == (0, [job_id(1), job_id(2)])


def test_request_ids_and_labels_go_to_each_item(cli: Cli, file: Path) -> None:
    cli("batch-images", write(file, item(0), "bad", item(2)), "--request-id=run", "--label=a=b", "--detach")
    [request] = cli.script.of_type(api.BatchCreateJobsRequest)
    assert [each.image.request_id for each in request.items] == ["run-0", "run-2"]
    assert dict(request.items[0].image.labels) == {"a": "b"}


def test_large_files_go_in_portions_and_all_jobs_are_followed(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_file, "ITEMS_PER_CALL", 2)
    assert cli("batch-images", write(file, *[item(number) for number in range(5)])).code == 0
    sizes = [len(request.items) for request in cli.script.of_type(api.BatchCreateJobsRequest)]
    assert sizes == [2, 2, 1]


def test_an_error_between_portions_tells_what_was_accepted(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_file, "ITEMS_PER_CALL", 2)
    cli.script.error, cli.script.good_calls = unavailable("the database is away"), 1
    result = cli("batch-images", write(file, *[item(number) for number in range(5)]))
    assert (result.code, result.out, len(cli.script.jobs)) == (3, "", 2)
    assert result.err.splitlines()[-1] == "2 jobs were accepted before this error. List: storyboard jobs"
    cli.script.good_calls = 0
    assert "were accepted" not in cli("batch-images", write(file, item(0))).err


def test_portions_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "BYTES_PER_CALL", 250)
    items = {index: api.BatchItem(image=api.CreateImageJobRequest(request_id="x" * 100)) for index in range(5)}
    assert [list(portion) for portion in batch_file.calls(items)] == [[0, 1], [2, 3], [4]]


def test_an_empty_file_asks_for_nothing(cli: Cli, file: Path) -> None:
    result = cli("batch-images", write(file))
    assert (result.code, cli.script.requests) == (0, [])


@pytest.mark.parametrize("text", ["", "{", '{"prompt": "x"}', "[" * 100_000, "\ufeff{}"])
def test_a_file_that_is_no_array_exits_2(cli: Cli, file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    result = cli("batch-images", str(file))
    assert (result.code, result.out) == (2, "")
    assert str(file) in result.err


def test_a_file_that_cannot_be_read_exits_2(cli: Cli, file: Path) -> None:
    assert cli("batch-images", str(file)).code == 2
    file.write_bytes(b"\xff\xfe")
    assert cli("batch-images", str(file)).code == 2


def test_a_lone_surrogate_is_a_bad_item(cli: Cli, file: Path) -> None:
    file.write_text('[{"storyboardId": "board", "prompt": "\\ud800"}]', encoding="utf-8")
    result = cli("batch-images", str(file))
    assert result.code == 1
    assert "item 0: prompt:" in result.err
