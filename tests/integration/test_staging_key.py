"""A minted staging key reaches the staging bucket and nothing else: the policies of the migration decide."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest

from superstoryboard.db.migrate import migrate
from superstoryboard.storage.buckets import IMAGES, ensure_buckets
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.keys import STAGING_ROLE
from superstoryboard.storage.objects import ObjectStat, ObjectStore
from tests.emulators.storage_fixture import (
    ANON_KEY,
    SECRET_KEY,
    STAGING_BUCKET,
    RunningEmulator,
    running_emulator,
    wait_healthy,
)

KV = "kv_store_7ee7668a"
JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough"
PNG = b"\x89PNG not really"


def minted(role: str = STAGING_ROLE, seconds: int = 3600, secret: str = JWT_SECRET) -> str:
    """A key as docs/STAGING-KEY.md mints it."""
    return jwt.encode({"role": role, "iss": "superstoryboard", "exp": int(time.time()) + seconds}, secret, "HS256")


@pytest.fixture
def emulator(database_url: str, tmp_path: Path) -> Iterator[RunningEmulator]:
    """Storage on a migrated database, which then gets its policies by the next `storyboard migrate`."""
    with running_emulator(database_url, tmp_path / "storage", "--jwt-secret", JWT_SECRET) as running:
        wait_healthy(running)
        assert migrate(database_url, kv_table=KV) == [f"The staging role may use the bucket {STAGING_BUCKET}."]
        yield running


async def connect(emulator: RunningEmulator, key: str, api_key: str | None = None) -> ObjectStore:
    return await ObjectStore.connect(url=emulator.url, key=key, api_key=api_key, timeout_seconds=60)


@pytest.fixture
async def owner(emulator: RunningEmulator) -> AsyncIterator[ObjectStore]:
    store = await connect(emulator, SECRET_KEY)
    await ensure_buckets(store, STAGING_BUCKET)
    await store.upload(IMAGES.id, "s/a.png", PNG, "image/png")
    yield store
    await store.aclose()


@pytest.fixture
async def worker(emulator: RunningEmulator, owner: ObjectStore) -> AsyncIterator[ObjectStore]:
    assert owner
    store = await connect(emulator, minted(), ANON_KEY)
    yield store
    await store.aclose()


async def kind_of(call: object) -> StorageErrorKind:
    with pytest.raises(StorageError) as caught:
        await call  # type: ignore[misc]  # a coroutine of any method
    return caught.value.kind


async def test_it_writes_reads_replaces_and_removes_in_staging(worker: ObjectStore, tmp_path: Path) -> None:
    await worker.upload(STAGING_BUCKET, "job/1/a", PNG, "application/octet-stream")
    await worker.upload(STAGING_BUCKET, "job/1/a", PNG + b"2", "application/octet-stream")
    assert await worker.stat(STAGING_BUCKET, "job/1/a") == ObjectStat(len(PNG) + 1, "application/octet-stream")
    facts = await worker.download_to(STAGING_BUCKET, "job/1/a", tmp_path / "a", 1000)
    assert facts.size_bytes == len(PNG) + 1
    await worker.remove(STAGING_BUCKET, ["job/1/a"])
    assert await worker.stat(STAGING_BUCKET, "job/1/a") is None


async def test_it_reaches_nothing_else(worker: ObjectStore, owner: ObjectStore, tmp_path: Path) -> None:
    assert await worker.stat(IMAGES.id, "s/a.png") is None
    assert await kind_of(worker.download_to(IMAGES.id, "s/a.png", tmp_path / "a", 1000)) is StorageErrorKind.MISSING
    assert await kind_of(worker.signed_url(IMAGES.id, "s/a.png", 60)) is StorageErrorKind.MISSING
    for key in ("s/a.png", "s/new.png"):
        assert await kind_of(worker.upload(IMAGES.id, key, PNG, "image/png")) is StorageErrorKind.CONFIG
    await worker.remove(IMAGES.id, ["s/a.png"])
    assert await kind_of(worker.ensure_bucket("mine", public=True)) is StorageErrorKind.CONFIG
    assert await kind_of(worker.bucket_rules(IMAGES.id)) is StorageErrorKind.CONFIG
    assert await owner.stat(IMAGES.id, "s/a.png") == ObjectStat(len(PNG), "image/png")
    assert await owner.stat(IMAGES.id, "s/new.png") is None


async def test_moving_and_copying_out_of_staging_is_refused(
    worker: ObjectStore, owner: ObjectStore, emulator: RunningEmulator
) -> None:
    await worker.upload(STAGING_BUCKET, "j/1", PNG, "image/png")
    order = {"bucketId": STAGING_BUCKET, "sourceKey": "j/1", "destinationKey": "x", "destinationBucket": IMAGES.id}
    headers = {"apikey": ANON_KEY, "authorization": f"Bearer {minted()}"}
    async with httpx.AsyncClient(base_url=f"{emulator.url}/storage/v1/object", headers=headers, timeout=60) as client:
        for call in ("move", "copy"):
            answer = await client.post(f"/{call}", json=order)
            assert (answer.status_code, answer.json()["statusCode"]) == (400, "403")
        listed = await client.post(f"/list/{IMAGES.id}", json={"prefix": ""})
    assert listed.json() == []
    assert await owner.stat(STAGING_BUCKET, "j/1") is not None


async def test_a_policy_of_the_project_for_everybody_opens_nothing(
    worker: ObjectStore, sql: psycopg.Connection
) -> None:
    sql.execute("create policy everybody on storage.objects using (true) with check (true)")
    assert await worker.stat(IMAGES.id, "s/a.png") is None
    assert await kind_of(worker.upload(IMAGES.id, "b", PNG, "image/png")) is StorageErrorKind.CONFIG


def test_the_role_has_no_right_outside_storage(emulator: RunningEmulator, sql: psycopg.Connection) -> None:
    assert emulator
    sql.execute(f"set role {STAGING_ROLE}")
    for statement in (
        f"select * from {KV}",
        "select * from superstoryboard.jobs",
        "select pgmq.send('image_generation_queue', '{}')",
        "select public.pgmq_send('image_generation_queue', '{}')",
        "select * from storage.buckets",
        "truncate storage.objects",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql.execute(statement)


@pytest.mark.parametrize(
    ("key", "api_key", "words"),
    [
        (minted(seconds=-1), ANON_KEY, "because the key has expired: create"),
        (minted(role="nobody_here"), ANON_KEY, "because the role that the key names does not exist"),
        (minted(secret="another-secret-that-is-long-enough-too"), ANON_KEY, "because the key is not signed by this"),
        (minted(), None, "set SUPABASE_ANON_KEY to the publishable or anon key"),
        (minted(), "unknown-api-key", "Storage rejected the key: check that it is complete"),
        (minted(), minted(), "Storage rejected the key: check that it is complete"),
    ],
    ids=["expired", "no such role", "another project", "no apikey", "unknown apikey", "minted key as apikey"],
)
async def test_a_wrong_key_says_what_to_do(
    emulator: RunningEmulator, owner: ObjectStore, key: str, api_key: str | None, words: str
) -> None:
    assert owner
    store = await connect(emulator, key, api_key)
    with pytest.raises(StorageError, match=words) as caught:
        await store.upload(STAGING_BUCKET, "a", PNG, "image/png")
    assert caught.value.kind is StorageErrorKind.CONFIG
    await store.aclose()


WRONG = minted(secret="another-secret-that-is-long-enough-too")


@pytest.mark.parametrize(
    ("key", "api_key", "answers"),
    [
        (WRONG, ANON_KEY, [(400, "signature verification failed"), (400, "Bucket not found")]),
        (minted(seconds=-1), ANON_KEY, [(400, '"exp" claim timestamp check failed')] * 2),
        (minted("nobody_here"), ANON_KEY, [(500, 'role "nobody_here" does not exist')] * 2),
        (minted(), None, [(401, "No API key found in request")] * 2),
        (minted(), minted(), [(401, "Invalid API key")] * 2),
    ],
    ids=["another project", "expired", "no such role", "no apikey", "minted key as apikey"],
)
def test_the_emulator_refuses_a_key_in_the_words_of_the_real_server(
    emulator: RunningEmulator, owner: ObjectStore, key: str, api_key: str | None, answers: list[tuple[int, str]]
) -> None:
    assert owner
    headers = {"authorization": f"Bearer {key}"} | ({"apikey": api_key} if api_key else {})
    with httpx.Client(base_url=f"{emulator.url}/storage/v1/object", headers=headers, timeout=60) as client:
        upload = client.post(f"/{STAGING_BUCKET}/a", content=PNG, headers={"content-type": "image/png"})
        info = client.get(f"/info/{STAGING_BUCKET}/a")
    assert [(answer.status_code, answer.json()["message"]) for answer in (upload, info)] == answers
    if upload.status_code == 500:
        assert upload.json()["code"] == upload.json()["error"] == "DatabaseError"


async def test_a_wrong_signature_that_storage_calls_a_missing_bucket_is_told(
    emulator: RunningEmulator, owner: ObjectStore
) -> None:
    assert owner
    store = await connect(emulator, WRONG, ANON_KEY)
    with pytest.raises(StorageError, match="If the bucket exists, the key is signed for another project"):
        await store.stat(STAGING_BUCKET, "a")
    await store.aclose()


@pytest.mark.parametrize("role", ["service_role", "anon"])
async def test_older_api_keys_are_jwts_of_the_project(emulator: RunningEmulator, owner: ObjectStore, role: str) -> None:
    assert owner
    store = await connect(emulator, minted(role))
    upload = store.upload(IMAGES.id, "old.png", PNG, "image/png")
    if role == "anon":
        assert await kind_of(upload) is StorageErrorKind.CONFIG
    else:
        await upload
    await store.aclose()


def test_the_right_follows_the_setting_and_stays_where_it_is(emulator: RunningEmulator) -> None:
    url = emulator.database_url
    nothing = ["Nothing to do: the schema is up to date."]
    assert migrate(url, kv_table=KV) == nothing
    assert migrate(url, kv_table=KV, staging_bucket="it's mine") == ["The staging role may use the bucket it's mine."]
    assert migrate(url, kv_table=KV, staging_bucket="it's mine") == nothing


def test_without_row_level_security_the_role_gets_nothing(emulator: RunningEmulator, sql: psycopg.Connection) -> None:
    sql.execute("alter table storage.objects disable row level security")
    (sentence,) = migrate(emulator.database_url, kv_table=KV, staging_bucket="other")
    assert "no row-level security" in sentence


def test_whoever_may_not_grant_it_is_told(emulator: RunningEmulator, sql: psycopg.Connection) -> None:
    assert emulator
    sql.execute(
        "create role somebody_else; grant usage on schema superstoryboard to somebody_else;"
        " grant execute on function superstoryboard.allow_staging_v1 (text) to somebody_else; set role somebody_else"
    )
    row = sql.execute("select superstoryboard.allow_staging_v1('other')").fetchone()
    sql.execute("reset role; drop owned by somebody_else; drop role somebody_else")
    assert row is not None
    assert row[0].startswith("The staging role got no right: ")
    assert "docs/STAGING-KEY.md" in row[0]
