"""Real Postgres with PGMQ for every test: one server a session, one database a test from a template."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from devstack.stack import ports
from devstack.stack.postgres import Postgres
from devstack.stack.rabbitmq import ensure_rabbitmq
from superstoryboard.db.database import Database
from superstoryboard.db.migrate import migrate
from superstoryboard.jobs.steering import Steering
from tests.conformance.http_stub import Stub, serve
from tests.folders import fast_folder, server_folder

KV_TABLE = "kv_store_7ee7668a"
TEMPLATE = "template_migrated"
# Processes of a test run that look for a free port at the same time would find the same one.
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
ports.CANDIDATES = ports.CANDIDATES[_PROCESS::8]
_numbers = itertools.count()

# No time is measured, nothing is kept between runs, and the same examples are tried everywhere.
settings.register_profile(
    "project", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of this session; what tests check does not hang on the disk, so it does not wait for it."""
    settings = {"fsync": "off", "max_connections": "200"}
    with fast_folder() as folder, Postgres(folder, settings=settings) as server:
        admin(server, f"create database {TEMPLATE}")
        migrate(server.url_of(TEMPLATE), kv_table=KV_TABLE)
        yield server


@pytest.fixture
def servers() -> Iterator[Path]:
    """A folder of this test for servers that it starts itself."""
    with server_folder() as folder:
        yield folder


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database without our schema."""
    yield from _database(postgres, "template1")


@pytest.fixture(scope="module")
def storage_database_url(postgres: Postgres) -> Iterator[str]:
    """A database without our schema, for the Storage emulator of a module."""
    yield from _database(postgres, "template1")


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A migrated database of this test alone."""
    yield from _database(postgres, TEMPLATE)


@pytest.fixture(scope="module")
def module_database_url(postgres: Postgres) -> Iterator[str]:
    """A migrated database of this module alone."""
    yield from _database(postgres, TEMPLATE)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's database."""
    opened = await Database.connect(database_url, name="test", pool_size=20)
    yield opened
    await opened.aclose()


@pytest.fixture
def steering(database: Database) -> Steering:
    return Steering(database)


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    """A plain connection on this test's database, as a client of the queue would have one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


class Server(Protocol):
    """A Postgres server: the embedded one, or Debian's in tests/outside."""

    def url_of(self, database: str) -> str: ...


def admin(server: Server, statement: str) -> None:
    """Run a statement that must not be in a transaction."""
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(statement)


def _database(server: Server, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    # Copying files costs half of what writing them into the log does.
    admin(server, f"create database {name} template {template} strategy file_copy")
    yield server.url_of(name)
    admin(server, f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """A real RabbitMQ: AMQP_URL, else a private node."""
    with fast_folder() as folder, ensure_rabbitmq(folder) as url:
        yield url


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    """An HTTP server whose answers the test chooses, for those that no emulator gives."""
    async with serve() as running:
        yield running
