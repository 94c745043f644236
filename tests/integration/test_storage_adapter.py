"""The Storage adapter with the real supabase client against the Storage emulator."""

import asyncio
import hashlib
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

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
    embedded_database,
    running_emulator,
)

PNG = b"\x89PNG not really"
MAX_BYTES = 64_000_000
GLOBAL_LIMIT = 52_428_800


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    directory = tmp_path_factory.mktemp("storage")
    limit = ("--global-file-size-limit", str(GLOBAL_LIMIT))
    with (
        embedded_database(directory) as database_url,
        running_emulator(database_url, directory / "state", *limit) as running,
    ):
        yield running


@pytest.fixture
async def control(emulator: RunningEmulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{emulator.url}/_emulator", timeout=60) as each:
        await each.post("/reset")
        yield each
        await each.post("/reset")


async def script(control: httpx.AsyncClient, **entry: Any) -> None:
    assert (await control.post("/script", json=entry)).status_code == 200


@pytest.fixture
async def store(emulator: RunningEmulator, control: httpx.AsyncClient) -> AsyncIterator[ObjectStore]:
    assert control
    each = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60)
    yield each
    await each.aclose()


@pytest.fixture
async def bucket(store: ObjectStore) -> str:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    await store.ensure_bucket(name, public=True)
    return name


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def kind_of(call: Awaitable[object]) -> StorageErrorKind:
    """The kind of the failure; nothing foreign or secret may be in its text."""
    with pytest.raises(StorageError) as caught:
        await call
    error = caught.value
    shown = "".join(traceback.format_exception(error)[-1:]) + error.message + str(error.__cause__)
    assert error.__suppress_context__ or error.__context__ is None
    for secret in (SECRET_KEY, STAGING_KEY, "127.0.0.1", "http:", "<html"):
        assert secret not in shown
    return error.kind


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


async def test_the_public_url_is_read_without_a_key(store: ObjectStore, bucket: str, emulator: RunningEmulator) -> None:
    await store.upload(bucket, "s/a_1.png", PNG, "image/png", cache_control="31536000")
    url = store.public_url(bucket, "s/a_1.png")
    assert url == f"{emulator.url}/storage/v1/object/public/{bucket}/s/a_1.png"
    async with httpx.AsyncClient(timeout=60) as anyone:
        answer = await anyone.get(url)
    assert (answer.content, answer.headers["cache-control"]) == (PNG, "max-age=31536000")


async def test_the_public_url_may_have_another_origin(emulator: RunningEmulator) -> None:
    public = "https://media.example.com/"
    store = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=60, public_url=public)
    assert store.public_url("b", "s/x.png") == f"{public}storage/v1/object/public/b/s/x.png"
    await store.aclose()


async def test_a_signed_url_opens_a_private_bucket_at_the_public_address(emulator: RunningEmulator) -> None:
    store = await ObjectStore.connect(
        url=emulator.url, key=SECRET_KEY, timeout_seconds=60, public_url="https://media.example.com/"
    )
    await store.ensure_bucket("signed", public=False)
    await store.upload("signed", "s/a_1.png", PNG, "image/png")
    url = await store.signed_url("signed", "s/a_1.png", 60)
    assert url.startswith("https://media.example.com/storage/v1/object/sign/signed/s/a_1.png?token=")
    async with httpx.AsyncClient(timeout=60) as anyone:
        answer = await anyone.get(url.replace("https://media.example.com", emulator.url))
        private = await anyone.get(f"{emulator.url}/storage/v1/object/public/signed/s/a_1.png")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert private.status_code == 400
    assert await kind_of(store.signed_url("signed", "none", 60)) is StorageErrorKind.MISSING
    await store.aclose()


@pytest.mark.parametrize(
    ("name", "size", "media_type", "advice"),
    [
        ("nowhere", 1, "image/png", "restart the asset_writer"),
        ("narrow", 11, "image/png", "raise the bucket's file size limit"),
        ("narrow", 1, "text/plain", "add it to the bucket's allowed types"),
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


async def test_an_existing_bucket_is_never_changed(store: ObjectStore, emulator: RunningEmulator) -> None:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    await store.ensure_bucket(name, public=False, file_size_limit=10)
    assert await store.ensure_bucket(name, public=True, file_size_limit=999) is BucketOutcome.EXISTS
    headers = {"apikey": SECRET_KEY}
    async with httpx.AsyncClient(timeout=60, headers=headers) as client:
        row = (await client.get(f"{emulator.url}/storage/v1/bucket/{name}")).json()
    assert (row["public"], row["file_size_limit"]) == (False, 10)


async def test_the_buckets_of_the_system_are_made_once(store: ObjectStore, emulator: RunningEmulator) -> None:
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
        rows = {row["id"]: row for row in (await client.get(f"{emulator.url}/storage/v1/bucket")).json()}
    for definition in FINAL_BUCKETS:
        assert rows[definition.id]["public"] is True
        assert tuple(rows[definition.id]["allowed_mime_types"]) == definition.allowed_mime_types
    assert rows[STAGING_BUCKET]["public"] is False


async def test_the_staging_key_reaches_staging_only(
    store: ObjectStore, emulator: RunningEmulator, tmp_path: Path
) -> None:
    await ensure_buckets(store, STAGING_BUCKET)
    worker = await ObjectStore.connect(url=emulator.url, key=STAGING_KEY, timeout_seconds=60)
    await worker.upload(STAGING_BUCKET, "job/1/a", PNG, "image/png")
    await worker.download_to(STAGING_BUCKET, "job/1/a", tmp_path / "a", MAX_BYTES)
    await worker.remove(STAGING_BUCKET, ["job/1/a"])
    assert await kind_of(worker.upload(IMAGES.id, "a", PNG, "image/png")) is StorageErrorKind.CONFIG
    assert await kind_of(worker.ensure_bucket("mine", public=True)) is StorageErrorKind.CONFIG
    await worker.aclose()


async def test_a_wrong_key_is_a_matter_of_configuration(emulator: RunningEmulator, tmp_path: Path) -> None:
    stranger = await ObjectStore.connect(url=emulator.url, key="wrong", timeout_seconds=60)
    for call in (
        stranger.upload(IMAGES.id, "a", PNG, "image/png"),
        stranger.download_to(IMAGES.id, "a", tmp_path / "a", 10),
        stranger.ensure_bucket("b", public=True),
        ObjectStore.connect(url="nonsense", key="k", timeout_seconds=1),
    ):
        assert await kind_of(call) is StorageErrorKind.CONFIG
    await stranger.aclose()


def storage_calls(store: ObjectStore, bucket: str, path: Path) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.upload(bucket, "a", PNG, "image/png"),
        lambda: store.download_to(bucket, "a", path, MAX_BYTES),
        lambda: store.stat(bucket, "a"),
        lambda: store.remove(bucket, ["a"]),
        lambda: store.ensure_bucket("other", public=True),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503, "body": "<html>http://10.0.0.1 busy</html>", "content_type": "text/html"},
        {"status": 429, "body": {"message": "slow down"}},
        {"status": 500, "body": {"statusCode": "500", "error": "Internal", "message": "at http://10.0.0.1"}},
        {"status": 544, "body": {"statusCode": "544", "error": "DatabaseTimeout", "message": "timed out"}},
        {"status": 400, "body": {"statusCode": "423", "error": "ResourceLocked", "message": "locked"}},
        {"drop": True},
    ],
    ids=["gateway-503", "gateway-429", "own-500", "own-544", "locked", "dropped"],
)
async def test_passing_faults_are_unavailable(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str, tmp_path: Path, answer: dict[str, Any]
) -> None:
    for call in storage_calls(store, bucket, tmp_path / "a"):
        await script(control, on="any", **answer)
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("call_number", [0, 2, 4])
async def test_an_answer_that_is_not_storage_is_unavailable(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str, tmp_path: Path, call_number: int
) -> None:
    await script(control, on="any", status=200, body="<html>welcome</html>", content_type="text/html")
    call = storage_calls(store, bucket, tmp_path / "a")[call_number]
    assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE


async def test_a_page_that_is_not_found_is_not_a_missing_object(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    await script(control, on="any", times=2, status=404, body="<html>no such page")
    assert await kind_of(store.stat(bucket, "a")) is StorageErrorKind.CONFIG
    assert await kind_of(store.download_to(bucket, "a", tmp_path / "a", 10)) is StorageErrorKind.CONFIG


async def test_calls_end_in_time_and_leave_nothing(
    emulator: RunningEmulator, control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    hasty = await ObjectStore.connect(url=emulator.url, key=SECRET_KEY, timeout_seconds=0.2)
    await script(control, on="any", times=5, hold=True)
    for call in storage_calls(hasty, bucket, tmp_path / "a"):
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    await control.post("/release")
    await hasty.aclose()
    assert files_in(tmp_path) == []


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    # Port 9 on loopback: nothing answers there.
    lonely = await ObjectStore.connect(url="http://127.0.0.1:9", key="k", timeout_seconds=2)
    for call in storage_calls(lonely, "b", tmp_path / "a"):
        assert await kind_of(call()) is StorageErrorKind.UNAVAILABLE
    await lonely.aclose()


async def test_an_endless_download_is_cut_at_the_limit(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    target = tmp_path / "a"
    await script(control, on="download", body_bytes=200_000_000)
    assert await kind_of(store.download_to(bucket, "a", target, 1000)) is StorageErrorKind.TOO_LARGE
    await store.upload(bucket, "exact", bytes(1000), "image/png")
    assert (await store.download_to(bucket, "exact", target, 1000)).size_bytes == 1000
    assert await kind_of(store.download_to(bucket, "exact", tmp_path / "b", 999)) is StorageErrorKind.TOO_LARGE
    assert files_in(tmp_path) == [target]


async def test_a_download_that_breaks_off_leaves_no_file(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str, tmp_path: Path
) -> None:
    await script(control, on="download", body_bytes=3_000_000, drop=True)
    call = store.download_to(bucket, "a", tmp_path / "a", MAX_BYTES)
    assert await kind_of(call) is StorageErrorKind.UNAVAILABLE
    assert files_in(tmp_path) == []


async def test_an_upload_whose_answer_was_lost_can_be_repeated(
    store: ObjectStore, control: httpx.AsyncClient, bucket: str
) -> None:
    await script(control, on="upload", drop=True, after=True)
    call = store.upload(bucket, "a", PNG, "image/png")
    assert await kind_of(call) is StorageErrorKind.UNAVAILABLE
    assert await store.stat(bucket, "a") == ObjectStat(len(PNG), "image/png")
    await store.upload(bucket, "a", PNG, "image/png")


async def test_many_uploads_share_one_store(store: ObjectStore, bucket: str) -> None:
    keys = [f"many/{n}" for n in range(40)]
    await asyncio.gather(*(store.upload(bucket, key, PNG, "image/png") for key in keys))
    stats = await asyncio.gather(*(store.stat(bucket, key) for key in keys))
    assert set(stats) == {ObjectStat(len(PNG), "image/png")}
