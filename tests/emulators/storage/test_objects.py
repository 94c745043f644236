"""The Storage emulator answers as the real service does on the wire."""

import asyncio
import hashlib
from typing import Any

import httpx
import psycopg
import pytest

from tests.emulators.storage_fixture import (
    RunningEmulator,
)
from tests.emulators.storage_steps import GLOBAL_LIMIT, PNG, client_for, make_bucket, refused, upload


async def test_an_upload_is_read_back_with_its_headers(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    data = bytes(range(256)) * 8000
    stored = await upload(client, f"{bucket}/a/b.png", data)
    assert stored.status_code == 200
    assert stored.json()["Key"] == f"{bucket}/a/b.png"
    for route in ("object", "object/authenticated"):
        answer = await client.get(f"/{route}/{bucket}/a/b.png")
        assert answer.content == data
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "max-age=3600"
        assert answer.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324


async def test_a_raw_body_with_its_own_headers_is_stored(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    headers = {"content-type": "video/mp4", "cache-control": "max-age=60"}
    assert (await client.post(f"/object/{bucket}/raw.mp4", content=b"film", headers=headers)).status_code == 200
    answer = await client.get(f"/object/{bucket}/raw.mp4")
    assert (answer.content, answer.headers["content-type"]) == (b"film", "video/mp4")
    assert answer.headers["cache-control"] == "max-age=60"


async def test_metadata_rows_look_as_real_storage_writes_them(
    client: httpx.AsyncClient, emulator: RunningEmulator
) -> None:
    bucket = await make_bucket(client, public=True)
    await upload(client, f"{bucket}/s/1.png")
    async with await psycopg.AsyncConnection.connect(emulator.database_url) as connection:
        cursor = await connection.execute(
            "select o.name, pg_size_pretty((o.metadata->>'size')::bigint), o.metadata, b.public"
            " from storage.objects o join storage.buckets b on b.id = o.bucket_id"
            " where b.name = %s and o.created_at > now() - interval '1 hour'",
            [bucket],
        )
        row = await cursor.fetchone()
    assert row is not None
    assert row[:2] == ("s/1.png", f"{len(PNG)} bytes")
    assert row[3] is True
    metadata = row[2]
    assert metadata["size"] == metadata["contentLength"] == len(PNG)
    assert (metadata["mimetype"], metadata["cacheControl"]) == ("image/png", "max-age=3600")
    assert metadata["httpStatusCode"] == 200
    assert metadata["eTag"].startswith('"')
    assert metadata["lastModified"].endswith("Z")


async def test_an_existing_key_needs_upsert(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    bucket = await make_bucket(client)
    first = await upload(client, f"{bucket}/k.png")
    assert refused(await upload(client, f"{bucket}/k.png", b"other"), "409", "Duplicate")
    second = await upload(client, f"{bucket}/k.png", b"other", upsert=True)
    assert second.json()["Id"] == first.json()["Id"]
    await client.put(f"/object/{bucket}/k.png", files={"file": ("k", b"third", "image/png")})
    assert (await client.get(f"/object/{bucket}/k.png")).content == b"third"
    info = (await client.get(f"/object/info/{bucket}/k.png")).json()
    kept = list((emulator.state_dir / "objects").glob(f"*/{info['version']}"))
    assert len(kept) == 1
    assert kept[0].read_bytes() == b"third"


async def test_concurrent_upserts_of_one_key_leave_one_whole_object(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    bodies = [bytes([n]) * 100_000 for n in range(8)]
    answers = await asyncio.gather(*(upload(client, f"{bucket}/k", body, upsert=True) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    assert (await client.get(f"/object/{bucket}/k")).content in bodies


async def test_bucket_limits_are_kept(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client, file_size_limit="1MB", allowed_mime_types=["image/png", "video/*"])
    assert (await upload(client, f"{bucket}/ok", bytes(1_000_000))).status_code == 200
    assert refused(await upload(client, f"{bucket}/large", bytes(1_000_001)), "413", "Payload too large")
    wrong = await upload(client, f"{bucket}/text", media_type="text/plain;charset=UTF-8")
    assert refused(wrong, "415", "invalid_mime_type")
    assert (await upload(client, f"{bucket}/film", media_type="video/mp4")).status_code == 200
    assert refused(await client.get(f"/object/{bucket}/large"), "404", "not_found")


async def test_the_global_limit_is_kept(client: httpx.AsyncClient) -> None:
    above = {"id": "above", "name": "above", "file_size_limit": GLOBAL_LIMIT + 1}
    assert refused(await client.post("/bucket", json=above), "413", "Payload too large")
    bucket = await make_bucket(client)
    assert (await upload(client, f"{bucket}/exact", bytes(GLOBAL_LIMIT))).status_code == 200
    assert refused(await upload(client, f"{bucket}/more", bytes(GLOBAL_LIMIT + 1)), "413", "Payload too large")


@pytest.mark.parametrize("key", ["umläut.png", "hash%23.png"])
async def test_keys_with_other_characters_are_refused(client: httpx.AsyncClient, key: str) -> None:
    bucket = await make_bucket(client)
    assert refused(await upload(client, f"{bucket}/{key}"), "400", "InvalidKey")


async def test_slashes_collapse(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    assert (await upload(client, f"{bucket}//a//b.png")).json()["Key"] == f"{bucket}/a/b.png"


async def test_missing_things_are_named(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    assert refused(await upload(client, "nowhere/a.png"), "404", "Bucket not found")
    assert refused(await client.get("/bucket/nowhere"), "404", "Bucket not found")
    for route in (f"object/{bucket}/a", f"object/info/{bucket}/a"):
        assert refused(await client.get(f"/{route}"), "404", "not_found")
    assert (await client.head(f"/object/{bucket}/a")).status_code == 400
    assert refused(await client.delete(f"/object/{bucket}/a"), "404", "not_found")


async def test_public_urls_need_no_key_and_know_etag_and_range(
    client: httpx.AsyncClient, emulator: RunningEmulator
) -> None:
    bucket = await make_bucket(client, public=True)
    await upload(client, f"{bucket}/p.png", b"0123456789")
    async with client_for(emulator, None) as anyone:
        url = f"/object/public/{bucket}/p.png"
        whole = await anyone.get(url)
        assert whole.content == b"0123456789"
        part = await anyone.get(url, headers={"range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert part.headers["content-range"] == "bytes 2-4/10"
        known = await anyone.get(url, headers={"if-none-match": whole.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        head = await anyone.head(url)
        assert (head.headers["content-length"], head.content) == ("10", b"")
        assert refused(await anyone.get(f"/object/public/{bucket}/none"), "404", "not_found")


async def test_private_objects_have_no_public_url(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    await upload(client, f"{bucket}/p.png")
    assert refused(await client.get(f"/object/public/{bucket}/p.png"), "404", "Bucket not found")


async def test_signed_urls_work_until_they_expire(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    bucket = await make_bucket(client)
    await upload(client, f"{bucket}/p.png")

    async def sign(seconds: int) -> str:
        answer = await client.post(f"/object/sign/{bucket}/p.png", json={"expiresIn": str(seconds)})
        return str(answer.json()["signedURL"])

    async with client_for(emulator, None) as anyone:
        valid = await sign(60)
        assert (await anyone.get(valid)).content == PNG
        assert refused(await anyone.get(valid[:-2]), "400", "InvalidJWT")
        assert refused(await anyone.get(await sign(-1)), "400", "InvalidJWT")
        assert refused(await anyone.get(valid.replace("p.png?", "q.png?")), "400", "InvalidJWT")


async def test_remove_takes_many_keys_and_forgives_missing_ones(
    client: httpx.AsyncClient, emulator: RunningEmulator
) -> None:
    bucket = await make_bucket(client)
    await upload(client, f"{bucket}/a")
    version = (await client.get(f"/object/info/{bucket}/a")).json()["version"]
    removed = await client.request("DELETE", f"/object/{bucket}", json={"prefixes": ["a", "missing"]})
    assert [row["name"] for row in removed.json()] == ["a"]
    assert not list((emulator.state_dir / "objects").glob(f"*/{version}"))
    too_many = await client.request("DELETE", f"/object/{bucket}", json={"prefixes": ["x"] * 1001})
    assert too_many.status_code == 400
    await upload(client, f"{bucket}/b")
    assert (await client.delete(f"/object/{bucket}/b")).json() == {"message": "Successfully deleted"}


async def test_list_shows_one_level(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client)
    for key in ("top.png", "s/1.png", "s/2.png", "s/deep/3.png"):
        await upload(client, f"{bucket}/{key}")

    async def names(**query: Any) -> list[str]:
        rows = (await client.post(f"/object/list/{bucket}", json=query)).json()
        return [row["name"] for row in rows]

    assert await names(prefix="") == ["s", "top.png"]
    assert await names(prefix="s", sortBy={"column": "name", "order": "desc"}) == ["deep", "2.png", "1.png"]
    assert await names(prefix="s", limit=1, offset=1) == ["2.png"]
    assert await names(prefix="s/", search="de") == ["deep"]


async def test_move_and_copy_also_across_buckets(client: httpx.AsyncClient) -> None:
    source, target = await make_bucket(client), await make_bucket(client)
    await upload(client, f"{source}/a")
    order = {"bucketId": source, "sourceKey": "a", "destinationKey": "b", "destinationBucket": target}
    assert (await client.post("/object/copy", json=order)).json()["Key"] == f"{target}/b"
    assert refused(await client.post("/object/copy", json=order), "409", "Duplicate")
    assert refused(await client.post("/object/move", json=order), "409", "Duplicate")
    moved = await client.post("/object/move", json={**order, "destinationKey": "c"})
    assert moved.json()["message"] == "Successfully moved"
    assert refused(await client.get(f"/object/{source}/a"), "404", "not_found")
    for key in ("b", "c"):
        assert (await client.get(f"/object/{target}/{key}")).content == PNG


async def test_buckets_are_listed_updated_emptied_and_deleted(client: httpx.AsyncClient) -> None:
    bucket = await make_bucket(client, file_size_limit=10)
    again = {"id": bucket, "name": bucket}
    assert refused(await client.post("/bucket", json=again), "409", "Duplicate")
    assert refused(await client.post("/bucket", json={"id": "a/b", "name": "a/b"}), "400", "Invalid Input")
    await client.put(f"/bucket/{bucket}", json={"public": True, "file_size_limit": 100})
    row = (await client.get(f"/bucket/{bucket}")).json()
    assert (row["public"], row["file_size_limit"], row["owner"]) == (True, 100, "")
    assert bucket in [each["id"] for each in (await client.get("/bucket")).json()]
    await upload(client, f"{bucket}/a")
    assert refused(await client.delete(f"/bucket/{bucket}"), "409", "ResourceNotEmpty")
    await client.post(f"/bucket/{bucket}/empty", json={})
    assert (await client.delete(f"/bucket/{bucket}")).json() == {"message": "Successfully deleted"}
    assert refused(await client.get(f"/bucket/{bucket}"), "404", "Bucket not found")
