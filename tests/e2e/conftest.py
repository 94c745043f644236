"""The pipeline, once with RabbitMQ and once from the artifact rows alone: the same tests run on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from devstack.stack.postgres import Postgres
from superstoryboard.db.migrate import migrate
from tests.conftest import TEMPLATE, admin
from tests.e2e.paid_stage import Stage
from tests.e2e.pipeline import KV, Pipeline, pipeline


@pytest.fixture(scope="module", params=["rabbitmq", "rows"])
def running_pipeline(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Everything running; one database for a module."""
    amqp_url = request.getfixturevalue("amqp_url") if request.param == "rabbitmq" else ""
    name = f"e2e_{request.param}_{request.module.__name__.rsplit('.', 1)[-1]}"
    admin(postgres, f"create database {name} template {TEMPLATE}")
    with pipeline(postgres.url_of(name), tmp_path_factory.mktemp(name), amqp_url) as running:
        yield running
    admin(postgres, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def running(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Everything running, without RabbitMQ; one database for a module."""
    with pipeline(module_database_url, tmp_path_factory.mktemp("pipeline")) as started:
        yield started


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A pipeline for a module whose services can be shut out of the database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="postgres-")))
        postgres = stack.enter_context(Postgres(folder, settings={"fsync": "off"}))
        migrate(postgres.url, kv_table=KV)
        admin = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
        admin.execute("set default_transaction_read_only = off")
        admin.execute("create role services login superuser")
        as_services = postgres.url.replace("postgres@", "services@", 1)
        assert as_services != postgres.url
        own = {"DATABASE_URL": as_services, "DATABASE_LISTEN_URL": as_services}
        running = stack.enter_context(
            pipeline(
                postgres.url,
                tmp_path_factory.mktemp("paid-once"),
                ingest=own,
                image_worker=own,
                video_worker=own,
                asset_writer=own,
            )
        )
        yield Stage(running, admin, stack)


@pytest.fixture
def before(stage: Stage) -> dict[str, int]:
    """What was paid before the test."""
    return stage.running.accepted()
