"""What Storage is set up to do, from the setting to the job: signed URLs, a bucket that went, a key that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline, pipeline
from tests.emulators.storage_fixture import SECRET_KEY

pytestmark = pytest.mark.timeout(300)
HEADERS = {"apikey": SECRET_KEY}


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    signed = {"IMAGES_URL": "signed", "SIGNED_URL_SECONDS": "120", "SUPABASE_PUBLIC_URL": ""}
    folder = tmp_path_factory.mktemp("setup")
    with pipeline(module_database_url, folder, asset_writer=signed) as started:
        yield started


def expiry(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_signed_url_says_when_it_ends_in_job_and_kv(running: Pipeline) -> None:
    running.put("scene:signed:s1", {"id": "s1"})
    running.put("storyboard:signed", {"id": "signed", "scenes": [{"id": "s1"}, {"id": "s2"}]})
    begun = datetime.now(UTC)
    (made,) = running.succeeded(running.image("signed", scene_id="s1"))
    assert f"/storage/v1/object/sign/storyboard-images/{made.asset.path}?token=" in made.asset.url
    assert running.fetch(made)
    ends = made.asset.url_expire_time.ToDatetime(tzinfo=UTC)
    assert begun + timedelta(seconds=120) <= ends <= datetime.now(UTC) + timedelta(seconds=120)
    scene = running.kv("scene:signed:s1")
    assert scene["imageUrl"] == made.asset.url
    assert abs(expiry(scene["imageUrlExpiresAt"]) - ends) < timedelta(seconds=1)
    first, second = running.kv("storyboard:signed")["scenes"]
    assert first["imageUrlExpiresAt"] == scene["imageUrlExpiresAt"]
    assert second == {"id": "s2"}


def test_the_bucket_is_private_and_a_signed_url_is_a_source(running: Pipeline) -> None:
    (source,) = running.succeeded(running.image("private", scene_id="s1"))
    public = f"{running.storage_url}/storage/v1/object/public/storyboard-images/{source.asset.path}"
    assert httpx.get(public, timeout=60).status_code == 400
    edited = running.image("private", "make it night", scene_id="s2", source_image_url=source.asset.url, edit_mode=True)
    refused = running.image("private", scene_id="s3", source_image_url=public)
    running.succeeded(edited)
    (failed,) = running.finished(refused)
    assert (failed.state, failed.error.code) == (job_pb2.JOB_STATE_FAILED, "SOURCE_NOT_FOUND")
    assert "needs a signed URL" in failed.error.message


def test_public_again_takes_the_end_away(running: Pipeline) -> None:
    running.put("scene:turned:s1", {"id": "s1", "imageUrlExpiresAt": "2020-01-01T00:00:00.000Z", "mood": None})
    writer = running.services["asset_writer"]
    writer.stop()
    writer.start(IMAGES_URL="public")
    (made,) = running.succeeded(running.image("turned", scene_id="s1"))
    scene = running.kv("scene:turned:s1")
    assert "/object/public/" in made.asset.url
    assert not made.asset.HasField("url_expire_time")
    assert set(scene) == {"id", "mood", "imageUrl", "imageGeneratedAt", "updatedAt"}
    writer.stop()
    writer.start()


def test_a_job_waits_for_a_bucket_that_went_and_shows_it(running: Pipeline) -> None:
    writer = running.services["asset_writer"]
    writer.wait_serving()  # it makes no bucket any more
    bucket = f"{running.storage_url}/storage/v1/bucket/storyboard-videos"
    httpx.post(f"{bucket}/empty", headers=HEADERS, json={}, timeout=60).raise_for_status()
    httpx.delete(bucket, headers=HEADERS, timeout=60).raise_for_status()
    job = running.video("gone")
    waits = "select 1 from superstoryboard.jobs where id = %s and state = 'STAGED' and error ->> 'code' = %s"
    running.wait_for_row(waits, (job.id, "STORAGE_CONFIG"))
    shown = running.get(job.id).error
    assert getattr(shown, "class") == job_pb2.ERROR_CLASS_CONFIG
    assert "restart the asset_writer" in shown.message
    assert "127.0.0.1" not in shown.message
    told = running.sql.execute(
        "select count(*) from superstoryboard.job_events where job_id = %s and message = %s", (job.id, shown.message)
    ).fetchone()
    assert told == (1,)
    writer.stop()
    writer.start()
    (made,) = running.succeeded(job)
    assert not made.HasField("error")
    assert running.accepted()["video"] == 1


@pytest.mark.parametrize("kind", ["image", "video"])
def test_nothing_is_paid_with_a_staging_key_that_is_refused(running: Pipeline, kind: str) -> None:
    worker = running.services[f"{kind}_worker"]
    worker.stop()
    before = running.accepted()[kind]
    worker.start(SUPABASE_STAGING_KEY="a-key-of-nobody")
    job = running.image("refused") if kind == "image" else running.video("refused")
    while "No jobs are claimed: staging cannot be used" not in worker.log.read_text():
        assert worker.pid
    assert running.get(job.id).state == job_pb2.JOB_STATE_QUEUED
    assert running.accepted()[kind] == before
    worker.stop()
    worker.start()
    running.succeeded(job)
