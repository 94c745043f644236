"""Doctor against a real ingest: health, token, role, expiry; and the whole system with a paid image through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.stack.pipeline import Stack, StackOptions
from devstack.stack.ports import free_port
from tests.doctor.fixture import Doctor
from tests.running import SECRET, Service, running, token

WEEK_SECONDS = 7 * 86_400


@pytest.fixture
def ingest(doctor: Doctor, database_url: str, tmp_path: Path) -> Iterator[Service]:
    with running("ingest", {"DATABASE_URL": database_url}, tmp_path / "log") as service:
        doctor.hide(SECRET)
        doctor.set(INGEST_ADDRESS=service.address)
        yield service


def give(doctor: Doctor, value: str) -> None:
    doctor.hide(value)
    doctor.set(STORYBOARD_TOKEN=value)


def test_a_backend_developer_sees_the_rest_as_not_set(doctor: Doctor, ingest: Service) -> None:
    give(doctor, token(exp=time.time() + 4 * WEEK_SECONDS))
    result = doctor()
    assert result.code == 0
    assert result.sentence("ingest").startswith(f"{ingest.address} is SERVING")
    assert "is accepted as authenticated, expires 20" in result.sentence("token")
    others = {check["state"] for check in result.checks if check["name"] not in ("ingest", "token")}
    assert others == {"not set"}


def test_the_role_is_what_ingest_grants(doctor: Doctor, ingest: Service) -> None:
    del ingest
    give(doctor, token("backend", "service_role", exp=time.time() + 4 * WEEK_SECONDS))
    assert "accepted as service_role" in doctor().sentence("token")


def test_a_token_that_ends_soon_warns(doctor: Doctor, ingest: Service) -> None:
    del ingest
    give(doctor, token(exp=time.time() + 3600))
    result = doctor()
    assert (result.code, result.state("token")) == (0, "warning")


def test_an_expired_token(doctor: Doctor, ingest: Service) -> None:
    del ingest
    give(doctor, token(exp=time.time() - 3600))
    result = doctor()
    assert (result.code, result.failed) == (1, ["token"])
    assert "STORYBOARD_TOKEN was rejected: the token has expired" in result.sentence("token")
    assert "Set it to a new token" in result.sentence("token")


def test_a_token_of_another_installation(doctor: Doctor, ingest: Service) -> None:
    del ingest
    give(doctor, "no.such.token")
    result = doctor()
    assert result.failed == ["token"]


def test_no_token_where_one_is_asked_for(doctor: Doctor, ingest: Service) -> None:
    del ingest
    result = doctor()
    assert (result.code, result.state("token")) == (0, "not set")
    assert "ingest requires a token" in result.sentence("token")


def test_nobody_there_exits_3(doctor: Doctor) -> None:
    doctor.set(INGEST_ADDRESS=f"127.0.0.1:{free_port()}")
    result = doctor()
    assert (result.code, result.failed) == (3, ["ingest"])
    assert "set INGEST_ADDRESS to where it runs" in result.sentence("ingest")


def test_an_ingest_without_its_schema_cannot_work(doctor: Doctor, empty_database_url: str, tmp_path: Path) -> None:
    service = Service("ingest", {"DATABASE_URL": empty_database_url}, tmp_path / "log")
    service.start()
    try:
        service.wait_not_serving()
        doctor.set(INGEST_ADDRESS=service.address)
        result = doctor()
        assert (result.code, result.failed) == (3, ["ingest"])
        assert "is not ready" in result.sentence("ingest")
    finally:
        service.stop()


@pytest.mark.timeout(300)
async def test_the_whole_system_is_well_and_makes_an_image(doctor: Doctor, servers: Path) -> None:
    async with Stack(StackOptions(state_dir=servers, rabbitmq=False)) as stack:
        for service in ("ingest", "image_worker", "asset_writer"):
            settings = stack.environments.of(service)
            doctor.set(**{name: value for name, value in settings.items() if name not in ("PATH", "HOME", "LANG")})
        doctor.set(
            INGEST_ADDRESS=stack.ingest_address,
            IMAGE_WORKER_ADDRESS=stack.address("image_worker"),
            VIDEO_WORKER_ADDRESS=stack.address("video_worker"),
            STORYBOARD_TOKEN=stack.service_token,
        )
        secrets = stack.secrets
        doctor.hide(secrets.jwt, secrets.google_key, secrets.storage_secret_key, secrets.storage_staging_key)
        doctor.hide(stack.service_token)
        result = await asyncio.to_thread(doctor, "--spend", "--yes")
        plain = await asyncio.to_thread(doctor.run)
    assert (result.code, result.failed, plain) == (0, [], 0)
    assert result.state("broker") == "not set"
    assert result.sentence("image").startswith("image/png, ")
    assert "/object/public/storyboard-images/storyboard-doctor/" in result.sentence("image")
    assert all(line.split("  ")[0] in ("ok", "warning", "not set") for line in doctor.out.splitlines())
