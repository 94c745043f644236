"""What each key may do at the Storage emulator."""

import httpx

from tests.emulators.storage_fixture import (
    ANON_KEY,
    STAGING_BUCKET,
    STAGING_KEY,
    RunningEmulator,
)
from tests.emulators.storage_steps import PNG, client_for, make_bucket, refused, upload


async def test_a_wrong_key_stops_at_the_gateway(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    bucket = await make_bucket(client)
    for key, message in (("wrong", "Invalid API key"), (None, "No API key found in request")):
        async with client_for(emulator, key) as stranger:
            # Large enough that an answer before the end of the body would break the connection.
            answer = await upload(stranger, f"{bucket}/a", bytes(2_000_000))
            assert (answer.status_code, answer.json()) == (401, {"message": message})
            assert (await stranger.get("/bucket")).status_code == 401


async def test_the_staging_key_works_in_its_bucket_only(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    await client.post("/bucket", json={"id": STAGING_BUCKET, "name": STAGING_BUCKET})
    bucket = await make_bucket(client, public=True)
    async with client_for(emulator, STAGING_KEY) as worker:
        assert (await upload(worker, f"{STAGING_BUCKET}/j/1", upsert=True)).status_code == 200
        assert (await worker.get(f"/object/{STAGING_BUCKET}/j/1")).content == PNG
        removed = await worker.request("DELETE", f"/object/{STAGING_BUCKET}", json={"prefixes": ["j/1"]})
        assert len(removed.json()) == 1
        out = {
            "bucketId": STAGING_BUCKET,
            "sourceKey": "x",
            "destinationKey": "y",
            "destinationBucket": bucket,
        }
        for answer in (
            await upload(worker, f"{bucket}/a"),
            await worker.post("/bucket", json={"id": "mine", "name": "mine"}),
            await worker.get(f"/bucket/{STAGING_BUCKET}"),
            await worker.post("/object/move", json=out),
        ):
            assert refused(answer, "403", "Unauthorized")


async def test_objects_that_a_key_may_not_see_are_missing_to_it(
    client: httpx.AsyncClient, emulator: RunningEmulator
) -> None:
    bucket = await make_bucket(client)
    await upload(client, f"{bucket}/a")
    for key in (STAGING_KEY, ANON_KEY):
        async with client_for(emulator, key) as stranger:
            for name in ("a", "missing"):
                for answer in (
                    await stranger.get(f"/object/{bucket}/{name}"),
                    await stranger.get(f"/object/info/{bucket}/{name}"),
                    await stranger.post(f"/object/sign/{bucket}/{name}", json={"expiresIn": "60"}),
                    await stranger.delete(f"/object/{bucket}/{name}"),
                ):
                    assert refused(answer, "404", "not_found")
                    assert answer.json()["code"] == "NoSuchKey"
                assert refused(await upload(stranger, f"{bucket}/{name}", upsert=True), "403", "Unauthorized")
            removed = await stranger.request("DELETE", f"/object/{bucket}", json={"prefixes": ["a"]})
            assert (removed.status_code, removed.json()) == (200, [])
            assert (await stranger.post(f"/object/list/{bucket}", json={"prefix": ""})).json() == []
    assert (await client.get(f"/object/{bucket}/a")).content == PNG


async def test_the_anon_key_only_reads_public_objects(client: httpx.AsyncClient, emulator: RunningEmulator) -> None:
    bucket = await make_bucket(client, public=True)
    await upload(client, f"{bucket}/a")
    async with client_for(emulator, ANON_KEY) as anon:
        assert refused(await upload(anon, f"{bucket}/b"), "403", "Unauthorized")
        assert (await anon.get(f"/object/public/{bucket}/a")).content == PNG
