"""Each service under a login of its own, with a password: what it does works, and nothing is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from superstoryboard.db.logins import SERVICES, create_logins, group_of, login_url
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1 import storyboard_pb2
from superstoryboard.v1 import token_service_pb2 as token_api
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from superstoryboard.v1.token_service_pb2_grpc import TokenServiceStub
from tests.e2e.pipeline import NAMES, Pipeline, pipeline
from tests.running import ALICE, SERVICE

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def urls(module_database_url: str) -> Iterator[dict[str, str]]:
    """Addresses of the services' own logins, whom the server asks for their passwords."""
    with psycopg.connect(module_database_url) as connection:
        logins = create_logins(connection, SERVICES, suffix="e2e")
        made = {login.service: login_url(module_database_url, "postgres", login) for login in logins}
        hba = connection.execute("select current_setting('hba_file')").fetchone()
    assert hba is not None
    file = Path(hba[0])
    before = file.read_text()
    members = ",".join(f"+{group_of(service)}" for service in SERVICES)
    file.write_text(f"host all {members} 127.0.0.1/32 scram-sha-256\n{before}")
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("select pg_reload_conf()")
        yield made
        file.write_text(before)
        connection.execute("select pg_reload_conf()")


@pytest.fixture(scope="module")
def separate(
    module_database_url: str, urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    own = {name: {"DATABASE_URL": urls[name], "DATABASE_LISTEN_URL": urls[name]} for name in NAMES}
    with pipeline(
        module_database_url,
        tmp_path_factory.mktemp("roles"),
        ingest=own["ingest"],
        image_worker=own["image_worker"],
        video_worker=own["video_worker"],
        asset_writer=own["asset_writer"],
    ) as running:
        yield running


def refused(running: Pipeline) -> list[str]:
    """Lines of the services' logs about rights that they lack."""
    lines = [line for service in running.services.values() for line in service.log.read_text().splitlines()]
    return [line for line in lines if "permission denied" in line or "InsufficientPrivilege" in line]


def test_an_image_and_a_video_come_to_their_places(separate: Pipeline) -> None:
    separate.put("storyboard:own", {"scenes": [{"id": "s"}]})
    separate.succeeded(separate.image("own", scene_id="s"), separate.video("own", scene_id="s"))
    [scene] = separate.kv("storyboard:own")["scenes"]
    assert scene["imageUrl"]
    assert scene["videoUrl"]
    users = separate.sql.execute(
        "select distinct usename::text from pg_stat_activity"
        " where datname = current_database() and application_name like 'superstoryboard-%'"
    ).fetchall()
    assert {name for (name,) in users} == {f"{group_of(name)}_e2e" for name in NAMES}
    assert refused(separate) == []


def test_operators_and_owners_are_served(separate: Pipeline) -> None:
    separate.script({"on": "image", "kind": "no_image"})
    job = separate.image("kept")
    separate.finished(job)
    separate.stub.GetStoryboard(api.GetStoryboardRequest(storyboard_id="kept"), metadata=ALICE)
    editor = storyboard_pb2.STORYBOARD_ACCESS_EDITOR
    share = api.ShareStoryboardRequest(storyboard_id="kept", member="bob", access=editor)
    separate.stub.ShareStoryboard(share, metadata=ALICE)
    separate.stub.ListJobs(api.ListJobsRequest(storyboard_id="kept"), metadata=ALICE)
    with grpc.insecure_channel(separate.services["ingest"].address) as channel:
        queues, tokens = QueueServiceStub(channel), TokenServiceStub(channel)
        assert all(not duty.error for duty in queues.Sweep(queue_api.SweepRequest(), metadata=SERVICE).duties)
        queues.ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE)
        queues.ListDeadLetters(queue_api.ListDeadLettersRequest(), metadata=SERVICE)
        request = token_api.CreateServiceTokenRequest(name="t", role=token_api.SERVICE_TOKEN_ROLE_SERVICE_ROLE)
        tokens.CreateServiceToken(request, metadata=SERVICE)
        tokens.RevokeServiceToken(token_api.RevokeServiceTokenRequest(name="t"), metadata=SERVICE)
    assert refused(separate) == []


def test_pg_cron_sweeps_with_a_login_of_its_own(separate: Pipeline, urls: dict[str, str]) -> None:
    del separate
    with psycopg.connect(urls["sweep"], autocommit=True) as connection:
        duties = connection.execute("select duty, error from superstoryboard.sweep()").fetchall()
        connection.execute("select superstoryboard.wake('image_generation_queue')")
    assert len(duties) > 10
    assert [error for _, error in duties if error] == []


def test_a_password_is_needed(urls: dict[str, str]) -> None:
    for url in urls.values():
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(url, password="wrong"))
