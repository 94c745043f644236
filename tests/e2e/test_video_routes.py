"""Every video route, from the request to the stored asset; and over a kill -9 on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from superstoryboard.v1 import job_pb2
from tests.e2e.kill_steps import check_once, kill_at
from tests.e2e.pipeline import Pipeline
from tests.emulators.google_fixture import FRAMES_PER_SECOND, OMNI_MODEL, VERTEX_MODEL, VIDEO_MODEL, Film

MODELS = {"interactions": OMNI_MODEL, "veo_vertex": VERTEX_MODEL, "veo_gemini": VIDEO_MODEL}

pytestmark = pytest.mark.timeout(300)


def route_of(running: Pipeline, job: job_pb2.Job) -> str:
    record = running.sql.execute(
        "select route from superstoryboard.provider_calls where job_id = %s", (job.id,)
    ).fetchone()
    assert record is not None
    return str(record[0])


@pytest.mark.parametrize("route", MODELS)
def test_a_video_is_made_by_its_models_route(running: Pipeline, route: str) -> None:
    running.put(f"scene:{route}:s1", {"id": "s1"})
    before = running.accepted()["video"]
    made = running.succeeded(running.video(route, scene_id="s1", model=MODELS[route]))[0]
    check_once(running, made, "video", before)
    assert route_of(running, made) == route
    assert abs(Film(running.fetch(made)).frames - 4 * FRAMES_PER_SECOND) <= 1


@pytest.mark.parametrize("route", MODELS)
def test_an_accepted_video_survives_its_worker_on_every_route(running: Pipeline, route: str, tmp_path: Path) -> None:
    board = f"killed-{route}"
    running.put(f"scene:{board}:s1", {"id": "s1"})
    before = running.accepted()["video"]
    jobs: list[job_pb2.Job] = []
    kill_at(
        running,
        "video_worker",
        "accepted",
        tmp_path,
        lambda: jobs.append(running.video(board, scene_id="s1", model=MODELS[route])),
    )
    made = running.succeeded(*jobs)[0]
    check_once(running, made, "video", before)
    assert route_of(running, made) == route


def test_a_changed_default_model_pays_nothing_for_what_runs(running: Pipeline, tmp_path: Path) -> None:
    before = running.accepted()["video"]
    worker = running.services["video_worker"]
    jobs: list[job_pb2.Job] = []
    kill_at(running, "video_worker", "accepted", tmp_path, lambda: jobs.append(running.video("changed")))
    worker.stop()
    worker.start(VIDEO_MODEL=OMNI_MODEL)
    worker.wait_serving()
    made = running.succeeded(*jobs)[0]
    assert running.accepted()["video"] == before + 1
    assert route_of(running, made) == "veo_gemini"


def test_a_submit_whose_answer_was_lost_is_found_and_paid_once(running: Pipeline) -> None:
    running.put("scene:lost:s1", {"id": "s1"})
    before = running.accepted()["video"]
    running.script({"on": "submit", "drop": "after_accept"})
    made = running.succeeded(running.video("lost", scene_id="s1", model=VIDEO_MODEL))[0]
    check_once(running, made, "video", before)


def test_a_worker_killed_before_it_kept_the_name_is_paid_once(running: Pipeline, tmp_path: Path) -> None:
    running.put("scene:nameless:s1", {"id": "s1"})
    before = running.accepted()["video"]
    jobs: list[job_pb2.Job] = []
    kill_at(
        running,
        "video_worker",
        "named",
        tmp_path,
        lambda: jobs.append(running.video("nameless", scene_id="s1", model=VIDEO_MODEL)),
    )
    check_once(running, running.succeeded(*jobs)[0], "video", before)
