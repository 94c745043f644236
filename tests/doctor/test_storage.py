"""Doctor against the Storage emulator: well, and with one thing broken each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from devstack.stack.ports import free_port
from tests.doctor.fixture import Doctor
from tests.emulators.google_fixture import GoogleEmulator
from tests.emulators.storage_fixture import (
    ANON_KEY,
    SECRET_KEY,
    STAGING_BUCKET,
    STAGING_KEY,
    RunningEmulator,
    embedded_database,
    running_emulator,
    wait_healthy,
)

IMAGES, VIDEOS = "storyboard-images", "storyboard-videos"
GOOD: dict[str, dict[str, Any]] = {
    IMAGES: {"public": True, "allowed_mime_types": ["image/png", "image/jpeg", "image/webp"]},
    VIDEOS: {"public": True, "file_size_limit": 104857600, "allowed_mime_types": ["video/mp4", "video/webm"]},
    STAGING_BUCKET: {"public": False},
}


@pytest.fixture(scope="module")
def emulator(storage_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    with running_emulator(storage_database_url, tmp_path_factory.mktemp("storage")) as running:
        wait_healthy(running)
        yield running


@pytest.fixture
def storage(emulator: RunningEmulator, doctor: Doctor) -> Iterator[httpx.Client]:
    """A client with the secret key; the three buckets are as they should be, and the doctor knows both keys."""
    headers = {"apikey": SECRET_KEY, "Authorization": f"Bearer {SECRET_KEY}"}
    with httpx.Client(base_url=f"{emulator.url}/storage/v1", headers=headers, timeout=60) as client:
        httpx.post(f"{emulator.url}/_emulator/reset").raise_for_status()
        for name, rules in GOOD.items():
            remake(client, name, **rules)
        doctor.hide(SECRET_KEY, STAGING_KEY, ANON_KEY)
        doctor.set(SUPABASE_URL=emulator.url, SUPABASE_SECRET_KEY=SECRET_KEY, SUPABASE_STAGING_KEY=STAGING_KEY)
        yield client


def remake(client: httpx.Client, bucket: str, **rules: Any) -> None:
    remove(client, bucket)
    client.post("/bucket", json={"id": bucket, "name": bucket, **rules}).raise_for_status()


def remove(client: httpx.Client, bucket: str) -> None:
    client.post(f"/bucket/{bucket}/empty")
    client.delete(f"/bucket/{bucket}")


def objects(client: httpx.Client, bucket: str) -> list[Any]:
    answer: list[Any] = client.post(f"/object/list/{bucket}", json={"prefix": "doctor", "limit": 100}).json()
    return answer


def test_good_keys_and_buckets_pass_and_nothing_stays(doctor: Doctor, storage: httpx.Client) -> None:
    result = doctor()
    assert (result.code, result.failed) == (0, [])
    assert "lists 3 buckets" in result.sentence("secret key")
    assert "writes, reads and deletes in artifact-staging only" in result.sentence("staging key")
    assert result.sentence(f"bucket {VIDEOS}").startswith("public, 104857600 bytes, video/mp4, video/webm")
    assert [objects(storage, bucket) for bucket in GOOD] == [[], [], []]


@pytest.mark.parametrize(
    ("setting", "name"), [("SUPABASE_SECRET_KEY", "secret key"), ("SUPABASE_STAGING_KEY", "staging key")]
)
def test_a_wrong_key(doctor: Doctor, storage: httpx.Client, setting: str, name: str) -> None:
    del storage
    doctor.hide("of-another-project")
    doctor.set(**{setting: "of-another-project"})
    result = doctor()
    assert (result.code, result.failed) == (1, [name])
    assert f"{setting} (opaque key) was rejected" in result.sentence(name)
    assert "this project" in result.sentence(name)


def test_the_anon_key_is_no_secret_key(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    key = jwt.encode({"role": "anon", "exp": 2_000_000_000}, "x" * 32)
    doctor.hide(key)
    doctor.set(SUPABASE_SECRET_KEY=key)
    assert "not a secret key but a JWT of role anon" in doctor().sentence("secret key")
    doctor.set(SUPABASE_SECRET_KEY="sb_publishable_abcdefgh")
    assert "not a secret key but a publishable key" in doctor().sentence("secret key")


def test_a_missing_bucket(doctor: Doctor, storage: httpx.Client) -> None:
    remove(storage, IMAGES)
    result = doctor()
    assert (result.code, result.failed) == (1, [f"bucket {IMAGES}"])
    assert result.sentence(f"bucket {IMAGES}").startswith("it is missing. Start the asset_writer, which creates")


def test_a_missing_staging_bucket(doctor: Doctor, storage: httpx.Client) -> None:
    remove(storage, STAGING_BUCKET)
    result = doctor()
    assert result.failed == [f"bucket {STAGING_BUCKET}", "staging key"]
    assert "the bucket artifact-staging is missing" in result.sentence("staging key")


@pytest.mark.parametrize(
    "case",
    [
        (IMAGES, {"public": False}, "failed", "it is private, so its public asset URLs"),
        (IMAGES, {"allowed_mime_types": ["image/png"]}, "failed", "Allow image/jpeg, image/webp in it"),
        (IMAGES, {"allowed_mime_types": None}, "warning", "it accepts every media type"),
        (IMAGES, {"file_size_limit": 1000}, "warning", "it accepts at most 1000 bytes"),
        (VIDEOS, {"file_size_limit": 52428800}, "warning", "Raise its limit to 104857600 bytes"),
        (VIDEOS, {"file_size_limit": None}, "warning", "it has no file size limit"),
        (VIDEOS, {"allowed_mime_types": ["video/*"]}, "ok", "video/*"),
        (STAGING_BUCKET, {"public": True}, "warning", "Make it private"),
        (STAGING_BUCKET, {"file_size_limit": 104857599}, "warning", "Raise its limit to 104857600 bytes"),
        (STAGING_BUCKET, {"file_size_limit": 104857600}, "ok", "104857600 bytes"),
        (STAGING_BUCKET, {"allowed_mime_types": ["image/*"]}, "failed", "it does not accept video/mp4, video/webm"),
    ],
)
def test_a_bucket_with_other_rules(
    doctor: Doctor, storage: httpx.Client, case: tuple[str, dict[str, Any], str, str]
) -> None:
    bucket, rules, state, words = case
    remake(storage, bucket, **{**GOOD[bucket], **rules})
    result = doctor()
    assert result.state(f"bucket {bucket}") == state
    assert words in result.sentence(f"bucket {bucket}")
    assert result.code == (1 if state == "failed" else 0)


def test_a_staging_bucket_that_takes_no_pictures(doctor: Doctor, storage: httpx.Client) -> None:
    remake(storage, STAGING_BUCKET, public=False, allowed_mime_types=["video/*"])
    assert "rejects a small PNG" in doctor().sentence("staging key")


def test_a_staging_key_that_may_not_write(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    doctor.set(SUPABASE_STAGING_KEY=ANON_KEY)
    result = doctor()
    assert result.failed == ["staging key"]
    assert "it may not write in artifact-staging" in result.sentence("staging key")
    assert "policies on storage.objects" in result.sentence("staging key")


def test_a_staging_key_that_can_write_everything_is_warned_of(doctor: Doctor, storage: httpx.Client) -> None:
    doctor.set(SUPABASE_STAGING_KEY=SECRET_KEY)
    result = doctor()
    assert (result.code, result.state("staging key")) == (0, "warning")
    assert "it is the secret key" in result.sentence("staging key")
    doctor.set(SUPABASE_SECRET_KEY="")
    alone = doctor()
    assert "can also write storyboard-images, storyboard-videos" in alone.sentence("staging key")
    assert [objects(storage, bucket) for bucket in GOOD] == [[], [], []]


def test_a_worker_without_the_secret_key_is_checked_for_its_own(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    doctor.set(SUPABASE_SECRET_KEY="")
    result = doctor()
    assert (result.code, result.state("secret key"), result.state("staging key")) == (0, "not set", "ok")


def test_a_public_bucket_whose_urls_are_signed(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    doctor.set(IMAGES_URL="signed")
    result = doctor()
    assert (result.code, result.state(f"bucket {IMAGES}"), result.state(f"bucket {VIDEOS}")) == (0, "warning", "ok")
    assert "it is public, although IMAGES_URL=signed" in result.sentence(f"bucket {IMAGES}")
    assert "Make it private, or set IMAGES_URL=public" in result.sentence(f"bucket {IMAGES}")


@pytest.mark.parametrize("path", ["/", "/rest/v1", "/storage/v1/", "/project", "?x=1"])
def test_an_address_with_a_path(doctor: Doctor, storage: httpx.Client, emulator: RunningEmulator, path: str) -> None:
    del storage
    doctor.set(SUPABASE_URL=f"{emulator.url}{path}")
    result = doctor()
    if path == "/":
        assert (result.code, result.state("storage")) == (0, "ok")
        return
    assert (result.code, result.failed) == (2, ["storage", "token keys"])
    assert f"it has a path, but the paths of the APIs are added to it. Set it to {emulator.url}" in result.sentence(
        "storage"
    )


JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """Storage that takes minted keys, and has its three buckets."""
    directory = tmp_path_factory.mktemp("project")
    with (
        embedded_database() as database_url,
        running_emulator(database_url, directory / "state", "--jwt-secret", JWT_SECRET) as running,
    ):
        wait_healthy(running)
        headers = {"apikey": SECRET_KEY, "Authorization": f"Bearer {SECRET_KEY}"}
        with httpx.Client(base_url=f"{running.url}/storage/v1", headers=headers, timeout=60) as client:
            for name, rules in GOOD.items():
                remake(client, name, **rules)
        yield running


STAGING_CLAIMS = {"role": "superstoryboard_staging", "exp": 2_000_000_000}


@pytest.mark.parametrize(
    ("key", "api_key", "words"),
    [
        (jwt.encode(STAGING_CLAIMS, "x" * 32), ANON_KEY, "the key is not signed by this project. Sign it"),
        (jwt.encode(STAGING_CLAIMS | {"exp": 1_000_000_000}, JWT_SECRET), ANON_KEY, "the key has expired. Create or"),
        (
            jwt.encode(STAGING_CLAIMS | {"role": "nobody"}, JWT_SECRET),
            ANON_KEY,
            "the key names does not exist. Run `storyboard migrate`",
        ),
        (jwt.encode(STAGING_CLAIMS, JWT_SECRET), "", "requires an API key of the project. Set SUPABASE_ANON_KEY"),
    ],
    ids=["signature", "expired", "role", "apikey"],
)
def test_the_true_cause_of_a_refused_staging_key(
    doctor: Doctor, project: RunningEmulator, key: str, api_key: str, words: str
) -> None:
    doctor.hide(key)
    doctor.set(SUPABASE_URL=project.url, SUPABASE_SECRET_KEY=SECRET_KEY, SUPABASE_STAGING_KEY=key)
    doctor.set(SUPABASE_ANON_KEY=api_key)
    result = doctor()
    assert (result.code, result.failed) == (1, ["staging key"])
    assert "SUPABASE_STAGING_KEY (JWT of role " in result.sentence("staging key")
    assert words in result.sentence("staging key")


def test_a_staging_key_that_cannot_be_sent_is_a_wrong_one(doctor: Doctor, project: RunningEmulator) -> None:
    doctor.hide("schlüssel")
    doctor.set(SUPABASE_URL=project.url, SUPABASE_SECRET_KEY=SECRET_KEY, SUPABASE_STAGING_KEY="schlüssel")
    result = doctor()
    assert (result.code, result.failed) == (1, ["staging key"])


def test_the_true_cause_of_a_refused_secret_key(doctor: Doctor, project: RunningEmulator) -> None:
    key = jwt.encode({"role": "service_role", "exp": 1_000_000_000}, JWT_SECRET)
    doctor.hide(key)
    doctor.set(SUPABASE_URL=project.url, SUPABASE_SECRET_KEY=key)
    assert "was rejected: the key has expired" in doctor().sentence("secret key")


def test_nobody_there_exits_3(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    doctor.set(SUPABASE_URL=f"http://127.0.0.1:{free_port()}")
    result = doctor()
    assert (result.code, result.failed) == (3, ["storage", "token keys"])
    assert "https://PROJECT.supabase.co" in result.sentence("storage")


def test_a_public_url_that_leads_nowhere(doctor: Doctor, storage: httpx.Client) -> None:
    del storage
    doctor.set(SUPABASE_PUBLIC_URL="no-url")
    result = doctor()
    assert result.failed == ["public storage"]
    assert result.state("secret key") == "ok"


def test_something_else_answers(doctor: Doctor, tmp_path: Path) -> None:
    with GoogleEmulator(tmp_path).running() as google:
        doctor.set(SUPABASE_URL=google.url)
        assert "is not Supabase Storage" in doctor().sentence("storage")


def test_storage_that_stumbles_is_not_called_a_wrong_key(
    doctor: Doctor, storage: httpx.Client, emulator: RunningEmulator
) -> None:
    del storage
    # The first look is the one without a key.
    script = [{"on": "bucket", "status": 401, "body": {"message": "No API key"}}, {"on": "bucket", "status": 544}]
    httpx.post(f"{emulator.url}/_emulator/script", json=script).raise_for_status()
    result = doctor()
    assert result.code == 3
    assert "Storage is unavailable (HTTP 544)" in " ".join(check["message"] for check in result.checks)
