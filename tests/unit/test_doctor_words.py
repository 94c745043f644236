"""What doctor says of facts that a test machine cannot have: other versions, other hosts, other outcomes."""

from __future__ import annotations

import json
import time

import psycopg
import pytest

from devstack.stack.tokens import SigningKey
from storyboard.api.errors import ExitCode
from storyboard.api.settings import Endpoint
from storyboard.doctor import api, broker, database, environment, findings, listing, spend, storage, token_keys
from storyboard.doctor.findings import State
from storyboard.doctor.keys import read_token
from superstoryboard.inspection.broker import QueueFacts, QueueState
from superstoryboard.inspection.database import GrantFacts, PgmqFacts, ServerFacts
from superstoryboard.inspection.database_problems import InspectionError, Problem, spoken
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.routes import ListedOperation
from superstoryboard.rpc.token_keys import parse_key_set
from superstoryboard.v1 import job_pb2
from tests.running import token

CATALOGUE = Catalogue.load()


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


def test_a_staging_key_that_ends_soon_warns() -> None:
    finding = storage._good_staging(token(role="superstoryboard_staging", exp=time.time() + 3600), "artifact-staging")
    assert (finding.state, finding.action) == (State.WARNING, "Create a new one before it expires.")


@pytest.mark.parametrize(
    ("listed", "state", "words"),
    [
        ([], State.OK, "Google lists 0 operations"),
        (
            [ListedOperation(name="a", mark={"job": "1"}), ListedOperation(name="b")],
            State.OK,
            "a lost one can be found",
        ),
        ([ListedOperation(name="a"), ListedOperation(name="b", prompt="p")], State.WARNING, "but not their requests"),
    ],
)
def test_lists_of_operations(listed: list[ListedOperation], state: State, words: str) -> None:
    finding = listing._usable(listed, CATALOGUE.get(CATALOGUE.default_name("video")))
    assert (finding.state, words in finding.message) == (state, True)


def test_services_without_tls_elsewhere_are_warned_of() -> None:
    finding = api._transport(Endpoint("ingest service", "INGEST_ADDRESS", "8.8.8.8:50051"), "ingest")
    assert (finding.state, "tokens travel in plaintext" in finding.message) == (State.WARNING, True)
    assert finding.action == "Turn on TLS there, and set INGEST_ADDRESS to https://8.8.8.8:50051."


def test_a_certificate_that_cannot_be_read_is_no_reason_to_warn() -> None:
    finding = api._transport(Endpoint("ingest service", "INGEST_ADDRESS", "127.0.0.1:1", tls=True), "ingest")
    assert (finding.state, finding.message) == (State.OK, "127.0.0.1:1 is SERVING, over TLS")


def test_keys_over_plain_http_from_elsewhere_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_JWKS_URL", "http://auth.example.com/jwks.json")
    finding = token_keys._keys(
        "SUPABASE_JWKS_URL", parse_key_set(json.dumps({"keys": [SigningKey().published]}).encode())
    )
    assert (finding.state, "read over plain http" in finding.message) == (State.WARNING, True)


@pytest.mark.parametrize(
    ("error", "problem", "words"),
    [
        (TimeoutError(), Problem.UNREACHABLE, "did not respond in time"),
        (psycopg.errors.UndefinedTable(), Problem.REFUSED, "a table is missing"),
        (psycopg.errors.SyntaxError(), Problem.REFUSED, "the database rejected a query (42601)"),
        (psycopg.ProgrammingError("with a password"), Problem.REFUSED, "rejected a query (ProgrammingError)"),
    ],
)
def test_errors_of_a_database_keep_their_secrets(error: Exception, problem: Problem, words: str) -> None:
    with pytest.raises(InspectionError) as raised, spoken():
        raise error
    assert (raised.value.problem, words in str(raised.value)) == (problem, True)
    assert "password" not in str(raised.value)


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
