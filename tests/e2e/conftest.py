"""The pipeline, once with RabbitMQ and once from the artifact rows alone: the same tests run on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack.postgres import Postgres
from tests.conftest import TEMPLATE, admin
from tests.e2e.pipeline import Pipeline, pipeline


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
