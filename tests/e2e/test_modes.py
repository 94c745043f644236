"""The six modes of SPEC B1 through every process, with their media decoded and their links read back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from PIL import Image, ImageChops, ImageStat

from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import KV, Pipeline
from tests.emulators.google_fixture import FRAMES_PER_SECOND, Film

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def running(running_pipeline: Pipeline) -> Pipeline:
    return running_pipeline


def picture(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as opened:
        return opened.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of channels, 0 to 255."""
    means = ImageStat.Stat(ImageChops.difference(one, other.resize(one.size))).mean
    return sum(means) / len(means)


def changed_share(one: Image.Image, other: Image.Image) -> float:
    """Share of the pixels that differ."""
    grey = ImageChops.difference(one, other).convert("L")
    return 1 - grey.histogram()[0] / (grey.width * grey.height)


def check_film(data: bytes, seconds: int, size: tuple[int, int]) -> Film:
    film = Film(data)
    assert abs(film.frames - FRAMES_PER_SECOND * seconds) <= 1
    assert film.first.size == size
    assert film.names == ["h264", "aac"]
    assert film.loudest > 0.01
    return film


def test_text_to_image_for_a_scene_and_for_a_character(running: Pipeline) -> None:
    running.put("scene:t2i:s1", {"id": "s1"})
    running.put("storyboard:t2i", {"characters": [{"id": "hero"}]})
    scene, hero = running.succeeded(
        running.image("t2i", scene_id="s1"), running.image("t2i", character_id="hero", aspect_ratio="9:16")
    )
    assert running.kv("scene:t2i:s1")["imageUrl"] == scene.asset.url
    assert running.kv("storyboard:t2i")["characters"][0]["imageUrl"] == hero.asset.url
    assert scene.asset.path.startswith("t2i/s1_")
    assert scene.asset.path.endswith(".png")
    assert hero.asset.path.startswith("t2i/hero_")
    for job, ratio in ((scene, 16 / 9), (hero, 9 / 16)):
        decoded = picture(running.fetch(job))
        assert decoded.size == (job.asset.width, job.asset.height)
        assert abs(decoded.width / decoded.height - ratio) < 0.05
        assert not job.warnings


def test_an_edit_keeps_the_size_and_changes_the_picture(running: Pipeline) -> None:
    (source,) = running.succeeded(running.image("edit", scene_id="s1", aspect_ratio="4:3"))
    (edited,) = running.succeeded(
        running.image("edit", "make it night", scene_id="s2", source_image_url=source.asset.url, edit_mode=True)
    )
    before, after = picture(running.fetch(source)), picture(running.fetch(edited))
    assert after.size == before.size
    assert changed_share(before, after) > 0.05


def test_a_reference_gives_a_new_picture_at_the_asked_ratio(running: Pipeline) -> None:
    (source,) = running.succeeded(running.image("ref", scene_id="s1", aspect_ratio="1:1"))
    (made,) = running.succeeded(
        running.image("ref", scene_id="s2", source_image_url=source.asset.url, aspect_ratio="16:9")
    )
    assert abs(made.asset.width / made.asset.height - 16 / 9) < 0.05


def test_text_to_video_for_a_scene_and_for_a_character(running: Pipeline) -> None:
    running.put("scene:t2v:s1", {"id": "s1"})
    running.put("character:t2v:hero", {"id": "hero"})
    scene, hero = running.succeeded(
        running.video("t2v", scene_id="s1", duration_seconds="6"),
        running.video("t2v", character_id="hero", aspect_ratio="9:16"),
    )
    check_film(running.fetch(scene), 6, (1280, 720))
    check_film(running.fetch(hero), 4, (720, 1280))
    assert (scene.asset.media_type, scene.asset.duration.seconds) == ("video/mp4", 6)
    assert running.kv("scene:t2v:s1")["videoUrl"] == scene.asset.url
    assert running.kv("character:t2v:hero")["videoUrl"] == hero.asset.url


def test_a_video_of_eight_seconds_in_1080p(running: Pipeline) -> None:
    (made,) = running.succeeded(running.video("hd", scene_id="s1", duration_seconds="8", resolution="1080p"))
    check_film(running.fetch(made), 8, (1920, 1080))


def test_image_to_video_starts_from_an_image_made_a_moment_before(running: Pipeline) -> None:
    (image,) = running.succeeded(running.image("i2v", scene_id="s1"))
    (made,) = running.succeeded(running.video("i2v", scene_id="s1", source_image_url=image.asset.url))
    film = check_film(running.fetch(made), 4, (1280, 720))
    assert difference(film.first, picture(running.fetch(image))) < 12


def test_a_job_without_an_entity_is_named_by_its_id(running: Pipeline) -> None:
    (made,) = running.succeeded(running.image("bare"))
    assert made.asset.path.startswith(f"bare/{made.id}_")


def test_both_ids_link_both_and_name_by_the_scene(running: Pipeline) -> None:
    running.put("scene:both:s1", {})
    running.put("character:both:hero", {})
    (made,) = running.succeeded(running.image("both", scene_id="s1", character_id="hero"))
    assert made.asset.path.startswith("both/s1_")
    assert running.kv("scene:both:s1")["imageUrl"] == running.kv("character:both:hero")["imageUrl"] == made.asset.url


def test_messages_by_plain_sql_are_processed_like_any_other(running: Pipeline) -> None:
    running.put("scene:sql:7", {"id": 7})
    image = running.send(
        "image", {"storyboardId": "sql", "sceneId": 7, "prompt": "a fox", "extra": [1], "editMode": None}
    )
    video = running.send("video", {"storyboardId": "sql", "prompt": "a fox", "durationSeconds": 4})
    image, video = running.succeeded(image, video)
    assert running.kv("scene:sql:7")["imageUrl"] == image.asset.url
    assert image.image.scene_id == "7"
    check_film(running.fetch(video), 4, (1280, 720))


BAD_MESSAGES: list[tuple[str, Any, str]] = [
    ("image", [1, 2], "object"),
    ("image", "hi", "object"),
    ("image", {}, "storyboardId"),
    ("video", {"storyboardId": "b", "prompt": "p", "durationSeconds": 5}, "durationSeconds"),
    ("video", {"storyboardId": "b", "prompt": "p", "durationSeconds": 4, "resolution": "1080p"}, "resolution"),
    ("image", {"storyboardId": "b", "prompt": "p", "editMode": "true"}, "editMode"),
    ("image", {"storyboardId": "../x", "prompt": "p"}, "storyboardId"),
    ("image", {"storyboardId": "b", "prompt": "x" * 1_000_000}, "prompt"),
    ("image", {"storyboardId": "b", "prompt": "x" * 10_000_000}, "body must be at most 1048576 bytes"),
]


@pytest.mark.parametrize("number", range(len(BAD_MESSAGES)))
def test_a_bad_message_fails_with_the_rule_and_the_queue_goes_on(running: Pipeline, number: int) -> None:
    queue, body, word = BAD_MESSAGES[number]
    before = running.accepted()
    bad = running.send(queue, body)
    (failed,) = running.finished(bad)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert (getattr(failed.error, "class"), failed.error.code) == (job_pb2.ERROR_CLASS_INVALID, "INVALID_ARGUMENT")
    assert word in failed.error.message
    kept = running.sql.execute("select raw_body from superstoryboard.jobs where id = %s", (bad.id,)).fetchone()
    assert kept == (body,)
    archived = running.sql.execute(
        f"select count(*) from pgmq.a_{queue}_generation_queue where msg_id = %s", (bad.msg_id,)
    ).fetchone()
    assert archived == (1,)
    assert running.accepted() == before


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"status": 404, "body": "gone"}, "404"),
        ({"status": 200, "body": "<html>hello</html>", "content_type": "text/html"}, "image"),
        ({"status": 200, "content_type": "image/png", "body_bytes": 200_000_000}, "at most"),
    ],
)
def test_a_source_that_is_of_no_use_fails_the_job_before_any_call(
    running: Pipeline, answer: dict[str, Any], word: str
) -> None:
    before = running.accepted()
    path = "source-" + word.replace(" ", "-") + ".png"
    running.script_storage({"on": "public", "path_contains": path, "times": 5} | answer)
    url = f"{running.storage_url}/storage/v1/object/public/storyboard-images/{path}"
    (failed,) = running.finished(running.image("source", source_image_url=url))
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert "sourceImageUrl" in failed.error.message
    assert word in failed.error.message
    assert running.accepted() == before


def test_a_refusal_is_final_and_says_why(running: Pipeline) -> None:
    before = running.accepted()["image"]
    running.script({"on": "image", "prompt_contains": "forbidden", "kind": "image_safety"})
    (failed,) = running.finished(running.image("refused", "a forbidden fruit"))
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert getattr(failed.error, "class") == job_pb2.ERROR_CLASS_REFUSED
    assert "IMAGE_SAFETY" in failed.error.provider_codes
    assert running.accepted()["image"] == before + 1


def test_a_passing_fault_is_retried_and_then_succeeds(running: Pipeline) -> None:
    running.script({"on": "image", "prompt_contains": "stumbles", "kind": "no_image"})
    (made,) = running.succeeded(running.image("retry", "it stumbles once"))
    assert made.attempt == 2


def test_a_model_that_asks_to_slow_down_spends_no_attempt(running: Pipeline) -> None:
    slow_down = {"on": "image", "prompt_contains": "patience", "kind": "rate_limited_minute", "retry_delay_seconds": 1}
    running.script(slow_down, slow_down)
    (made,) = running.succeeded(running.image("slow-down", "with patience"))
    assert made.attempt == 1


def test_a_fault_that_stays_becomes_a_dead_letter_after_three_attempts(running: Pipeline) -> None:
    running.script({"on": "image", "prompt_contains": "never", "kind": "no_image", "times": 3})
    (dead,) = running.finished(running.image("dead", "never works"))
    assert (dead.state, dead.attempt) == (job_pb2.JOB_STATE_DEAD_LETTERED, 3)


def test_fifty_scenes_of_one_storyboard_at_once(running: Pipeline) -> None:
    names = [f"s{number}" for number in range(50)]
    running.put("storyboard:fifty", {"scenes": [{"id": name} for name in names]})
    jobs = running.succeeded(*(running.image("fifty", f"scene {name}", scene_id=name) for name in names))
    scenes = running.kv("storyboard:fifty")["scenes"]
    assert [scene["imageUrl"] for scene in scenes] == [job.asset.url for job in jobs]


def test_process_queue_works_on_a_paused_queue_and_answers_in_its_form(running: Pipeline) -> None:
    running.sql.execute("update superstoryboard.queues set paused = true where name = 'image_generation_queue'")
    try:
        good = running.image("now", scene_id="scene-001")
        running.script({"on": "image", "prompt_contains": "never now", "kind": "blocked_prompt"})
        bad = running.image("now", "never now", character_id="hero")
        answer = running.process("image_worker", 5)
        assert (answer.message, answer.processed) == ("Processed 2 messages", 2)
        first, second = answer.results
        assert (first.success, first.scene_id, first.msg_id) == (True, "scene-001", good.msg_id)
        assert first.image_url == running.get(good.id).asset.url
        assert (second.success, second.character_id, second.msg_id) == (False, "hero", bad.msg_id)
        assert "blocked" in second.error
        empty = running.process("image_worker")
        assert (empty.message, empty.processed) == ("No messages in queue", 0)
    finally:
        running.sql.execute("update superstoryboard.queues set paused = false")


def test_the_statements_of_the_sources_run_and_find_what_was_made(running: Pipeline) -> None:
    running.put("scene:watched:s1", {"id": "s1"})
    (made,) = running.succeeded(running.image("watched", scene_id="s1"))
    with psycopg.connect(running.database_url, autocommit=True) as client:
        for statement in (ROOT / "examples" / "monitoring.sql").read_text().split(";"):
            if statement.strip():
                client.execute(statement)
        stored = client.execute(
            "select name, pg_size_pretty((metadata->>'size')::bigint) from storage.objects"
            " where bucket_id = 'storyboard-images' and name = %s",
            (made.asset.path,),
        ).fetchall()
        assert len(stored) == 1
        linked = client.execute(f"select value->>'imageUrl' from {KV} where key like 'scene:watched:%'").fetchall()
        assert linked == [(made.asset.url,)]
        buckets = client.execute("select id, public, file_size_limit from storage.buckets order by id").fetchall()
        assert buckets == [
            ("artifact-staging", False, None),
            ("storyboard-images", True, None),
            ("storyboard-videos", True, 104857600),
        ]


def test_staging_is_empty_soon_after_all_is_written(running: Pipeline) -> None:
    running.succeeded(running.image("clean"))
    running.wait_for_row(
        "select 1 where not exists (select from storage.objects o"
        " join superstoryboard.artifacts a on a.staging_key = o.name"
        " join superstoryboard.jobs j on j.id = a.job_id where j.storyboard_id = %s)",
        ("clean",),
    )


def test_an_unknown_path_is_not_public(running: Pipeline) -> None:
    answer = httpx.get(f"{running.storage_url}/storage/v1/object/public/artifact-staging/x")
    assert answer.status_code == 400
