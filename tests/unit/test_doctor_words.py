"""What doctor says of facts that a test machine cannot have: other versions, other hosts, other outcomes."""

from __future__ import annotations

import pytest

from storyboard.api.errors import ExitCode
from storyboard.doctor import broker, database, environment, findings, spend
from storyboard.doctor.findings import State
from storyboard.doctor.keys import read_token
from superstoryboard.inspection.broker import QueueFacts, QueueState
from superstoryboard.inspection.database import GrantFacts, PgmqFacts, ServerFacts
from superstoryboard.v1 import job_pb2
from tests.running import token


def server(**changes: object) -> ServerFacts:
    facts = {
        "version": "17.4",
        "version_number": 170_004,
        "user": "postgres",
        "server": "one",
        "tls": True,
        "sslmode": "verify-full",
        "host": "db.example.com",
        "pooled": False,
        "transaction_pooled": False,
    }
    return ServerFacts(**(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (server(), State.OK, "TLS, certificate checked (sslmode=verify-full), direct connection"),
        (server(sslmode="require"), State.OK, "TLS, certificate not checked (sslmode=require)"),
        (server(pooled=True), State.OK, "through a session pooler"),
        (server(pooled=True, transaction_pooled=True), State.OK, "through a transaction pooler"),
        (server(version_number=140_012), State.WARNING, "Use PostgreSQL 15 or newer"),
        (server(tls=False), State.WARNING, "passwords are sent in plain text"),
        (server(tls=False, host="127.0.0.1"), State.OK, "without TLS"),
    ],
)
def test_servers(facts: ServerFacts, state: State, words: str) -> None:
    finding = database._server(facts)
    assert finding.state is state
    assert words in f"{finding.message}. {finding.action}"


@pytest.mark.parametrize(
    ("listening", "words"),
    [
        (server(pooled=True, transaction_pooled=True), "transaction pooler, which does not support LISTEN"),
        (server(server="another"), "name different databases"),
    ],
)
def test_servers_that_no_notification_reaches(listening: ServerFacts, words: str) -> None:
    finding = database._cannot_listen(listening, server())
    assert finding is not None
    assert (finding.state, words in finding.message) == (State.FAILED, True)
    assert database._cannot_listen(server(), server()) is None


def test_a_server_that_offers_pgmq() -> None:
    finding = database._pgmq(PgmqFacts(installed=False, extension=False, available=True, missing=()))
    assert (finding.state, "offers the extension" in finding.message) == (State.FAILED, True)


def test_roles_and_functions_that_are_missing() -> None:
    facts = GrantFacts(("anon",), ("pgmq_send(text, jsonb)",), (), ())
    assert database._grants(facts, anon_may_send=False).message == "missing: anon, public.pgmq_send(text, jsonb)"


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("amqps://broker.example.com", State.OK),
        ("amqp://rabbitmq:5672", State.OK),
        ("amqp://broker.example.com", State.WARNING),
    ],
)
def test_passwords_do_not_cross_the_internet_in_plain_text(url: str, state: State) -> None:
    assert broker._broker(url, "RabbitMQ 4").state is state


def test_a_user_of_the_broker_without_rights() -> None:
    finding = broker._queue("ready", QueueFacts(QueueState.NO_RIGHT))
    assert (finding.state, finding.message) == (State.FAILED, "this user may not declare ready")


def test_ends_of_a_bought_image() -> None:
    running = job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_RUNNING)
    late = spend._ended(running, 180.0)
    assert (late.state, late.code) == (State.FAILED, ExitCode.UNREACHABLE)
    assert late.message.startswith("job j-1 is still ")
    failed = job_pb2.Job(id="j-1", state=job_pb2.JOB_STATE_FAILED)
    failed.error.code = "SAFETY"
    assert "SAFETY" in spend._ended(failed, 3.0).message


def test_times_of_tokens() -> None:
    for expiry in (None, 1e300, -1e300):
        claims = read_token(token(exp=expiry))
        assert claims is not None
        assert (claims.expiry, claims.expires_soon) == ("without an expiry", False)
    assert read_token("no token") is None


def test_a_url_that_cannot_be_read_has_no_host_and_hides_what_it_can() -> None:
    url = "http://[broken password=hidden-word"
    assert environment.host_of(url) == ""
    assert findings._passwords(url) == {"hidden-word"}
