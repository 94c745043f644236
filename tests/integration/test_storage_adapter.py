"""The Storage adapter with the real supabase client against the Storage emulator."""

import hashlib
import uuid
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from superstoryboard.storage.buckets import FINAL_BUCKETS, IMAGES, VIDEOS, ensure_buckets
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.objects import BucketOutcome, BucketRules, ObjectStat, ObjectStore
from tests.emulators.storage_fixture import (
    SECRET_KEY,
    STAGING_BUCKET,
    STAGING_KEY,
    RunningEmulator,
)
from tests.integration.storage_steps import MAX_BYTES, PNG, kind_of


async def test_a_file_makes_the_round_trip_unchanged(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(bytes(range(256)) * 40_000)
    await store.upload(bucket, "s/1.mp4", source, "video/mp4")
    assert await store.stat(bucket, "s/1.mp4") == ObjectStat(10_240_000, "video/mp4")
    loaded = await store.download_to(bucket, "s/1.mp4", tmp_path / "out.mp4", MAX_BYTES)
    assert loaded.size_bytes == 10_240_000
    assert loaded.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (tmp_path / "out.mp4").read_bytes() == source.read_bytes()


async def test_an_upload_can_be_repeated_or_kept_from_replacing(
    store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    await store.upload(bucket, "a.png", b"first", "image/png")
    await store.upload(bucket, "a.png", b"second", "image/png")
    again = store.upload(bucket, "a.png", b"third", "image/png", upsert=False)
    assert await kind_of(again) is StorageErrorKind.EXISTS
    await store.download_to(bucket, "a.png", tmp_path / "a", MAX_BYTES)
    assert (tmp_path / "a").read_bytes() == b"second"


async def test_the_public_url_is_read_without_a_key(
    store: ObjectStore, bucket: str, storage_emulator: RunningEmulator
) -> None:
    await store.upload(bucket, "s/a_1.png", PNG, "image/png", cache_control="31536000")
    url = store.public_url(bucket, "s/a_1.png")
    assert url == f"{storage_emulator.url}/storage/v1/object/public/{bucket}/s/a_1.png"
    async with httpx.AsyncClient(timeout=60) as anyone:
        answer = await anyone.get(url)
    assert (answer.content, answer.headers["cache-control"]) == (PNG, "max-age=31536000")


async def test_the_public_url_may_have_another_origin(storage_emulator: RunningEmulator) -> None:
    public = "https://media.example.com/"
    store = await ObjectStore.connect(url=storage_emulator.url, key=SECRET_KEY, timeout_seconds=60, public_url=public)
    assert store.public_url("b", "s/x.png") == f"{public}storage/v1/object/public/b/s/x.png"
    await store.aclose()


async def test_a_signed_url_opens_a_private_bucket_at_the_public_address(storage_emulator: RunningEmulator) -> None:
    store = await ObjectStore.connect(
        url=storage_emulator.url, key=SECRET_KEY, timeout_seconds=60, public_url="https://media.example.com/"
    )
    await store.ensure_bucket("signed", public=False)
    await store.upload("signed", "s/a_1.png", PNG, "image/png")
    url = await store.signed_url("signed", "s/a_1.png", 60)
    assert url.startswith("https://media.example.com/storage/v1/object/sign/signed/s/a_1.png?token=")
    async with httpx.AsyncClient(timeout=60) as anyone:
        answer = await anyone.get(url.replace("https://media.example.com", storage_emulator.url))
        private = await anyone.get(f"{storage_emulator.url}/storage/v1/object/public/signed/s/a_1.png")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert private.status_code == 400
    assert await kind_of(store.signed_url("signed", "none", 60)) is StorageErrorKind.MISSING
    await store.aclose()


@pytest.mark.parametrize(
    ("name", "size", "media_type", "advice"),
    [
        ("nowhere", 1, "image/png", "restart the asset_writer"),
        ("narrow", 11, "image/png", "raise the bucket's file size limit"),
        ("narrow", 1, "text/plain", "add it to its allowed types"),
    ],
)
async def test_refusals_say_what_to_do(store: ObjectStore, name: str, size: int, media_type: str, advice: str) -> None:
    await store.ensure_bucket("narrow", public=False, file_size_limit=10, allowed_mime_types=("image/png",))
    with pytest.raises(StorageError, match=advice):
        await store.upload(name, "a", bytes(size), media_type)


async def test_buckets_that_do_not_fit_are_named_and_left(store: ObjectStore) -> None:
    name = f"staging-{uuid.uuid4().hex[:8]}"
    await store.ensure_bucket(name, public=True, file_size_limit=1000)
    assert await store.bucket_rules(name) == BucketRules(public=True, file_size_limit=1000, allowed_mime_types=None)
    with capture_logs() as logs:
        await ensure_buckets(store, name, final=())
    assert [(line["action"], line["bucket"]) for line in logs] == [("bucket_misfit", name)] * 2
    assert (await store.bucket_rules(name)).file_size_limit == 1000


async def test_removed_objects_are_gone_and_missing_ones_forgiven(store: ObjectStore, bucket: str) -> None:
    await store.upload(bucket, "a", PNG, "image/png")
    await store.remove(bucket, ["a", *(f"missing/{n}" for n in range(1500))])
    await store.remove(bucket, [])
    assert await store.stat(bucket, "a") is None


async def test_missing_things_are_told_apart(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    target = tmp_path / "x"
    assert await kind_of(store.download_to(bucket, "none", target, 10)) is StorageErrorKind.MISSING
    assert not target.exists()
    assert await kind_of(store.download_to("nowhere", "a", target, 10)) is StorageErrorKind.CONFIG
    assert await kind_of(store.stat("nowhere", "a")) is StorageErrorKind.CONFIG
    assert await kind_of(store.upload("nowhere", "a", PNG, "image/png")) is StorageErrorKind.CONFIG


@pytest.mark.parametrize("key", ["../a", "a/./b", "", "a//b", "/a", "umläut", "a%2Fb", "a#b"])
async def test_keys_that_storage_would_bend_are_refused(store: ObjectStore, bucket: str, key: str) -> None:
    assert await kind_of(store.upload(bucket, key, PNG, "image/png")) is StorageErrorKind.CONFIG


async def test_bucket_rules_become_kinds(store: ObjectStore) -> None:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    created = await store.ensure_bucket(name, public=False, file_size_limit=10, allowed_mime_types=("image/png",))
    assert created is BucketOutcome.CREATED
    await store.upload(name, "a", bytes(10), "image/png")
    assert await kind_of(store.upload(name, "b", bytes(11), "image/png")) is StorageErrorKind.TOO_LARGE
    assert await kind_of(store.upload(name, "c", PNG, "text/plain")) is StorageErrorKind.WRONG_MEDIA_TYPE


async def test_an_existing_bucket_is_never_changed(store: ObjectStore, storage_emulator: RunningEmulator) -> None:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    await store.ensure_bucket(name, public=False, file_size_limit=10)
    assert await store.ensure_bucket(name, public=True, file_size_limit=999) is BucketOutcome.EXISTS
    headers = {"apikey": SECRET_KEY}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        row = (await client.get(f"{storage_emulator.url}/storage/v1/bucket/{name}")).json()
    assert (row["public"], row["file_size_limit"]) == (False, 10)


async def test_the_buckets_of_the_system_are_made_once(store: ObjectStore, storage_emulator: RunningEmulator) -> None:
    with capture_logs() as logs:
        first = await ensure_buckets(store, STAGING_BUCKET)
    assert set(first) == {IMAGES.id, VIDEOS.id, STAGING_BUCKET}
    assert set(first.values()) == {BucketOutcome.CREATED}
    # This server's global limit is below that of the videos, as on the Free plan.
    assert [(line["action"], line["bucket"]) for line in logs] == [("bucket_without_limit", VIDEOS.id)]
    with capture_logs() as logs:
        assert set((await ensure_buckets(store, STAGING_BUCKET)).values()) == {BucketOutcome.EXISTS}
    assert logs == []
    async with httpx.AsyncClient(timeout=60, headers={"apikey": SECRET_KEY}) as client:
        rows = {row["id"]: row for row in (await client.get(f"{storage_emulator.url}/storage/v1/bucket")).json()}
    for definition in FINAL_BUCKETS:
        assert rows[definition.id]["public"] is True
        assert tuple(rows[definition.id]["allowed_mime_types"]) == definition.allowed_mime_types
    assert rows[STAGING_BUCKET]["public"] is False


async def test_the_staging_key_reaches_staging_only(
    store: ObjectStore, storage_emulator: RunningEmulator, tmp_path: Path
) -> None:
    await ensure_buckets(store, STAGING_BUCKET)
    worker = await ObjectStore.connect(url=storage_emulator.url, key=STAGING_KEY, timeout_seconds=60)
    await worker.upload(STAGING_BUCKET, "job/1/a", PNG, "image/png")
    await worker.download_to(STAGING_BUCKET, "job/1/a", tmp_path / "a", MAX_BYTES)
    await worker.remove(STAGING_BUCKET, ["job/1/a"])
    assert await kind_of(worker.upload(IMAGES.id, "a", PNG, "image/png")) is StorageErrorKind.CONFIG
    assert await kind_of(worker.ensure_bucket("mine", public=True)) is StorageErrorKind.CONFIG
    await worker.aclose()


async def test_a_wrong_key_is_a_matter_of_configuration(storage_emulator: RunningEmulator, tmp_path: Path) -> None:
    stranger = await ObjectStore.connect(url=storage_emulator.url, key="wrong", timeout_seconds=60)
    for call in (
        stranger.upload(IMAGES.id, "a", PNG, "image/png"),
        stranger.download_to(IMAGES.id, "a", tmp_path / "a", 10),
        stranger.ensure_bucket("b", public=True),
        ObjectStore.connect(url="nonsense", key="k", timeout_seconds=1),
    ):
        assert await kind_of(call) is StorageErrorKind.CONFIG
    await stranger.aclose()
