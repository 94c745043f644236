"""Doctor against a real Postgres: well, and with one thing broken each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from devstack.stack.ports import free_port
from devstack.stack.postgres import Postgres
from tests.doctor.fixture import Doctor

PASSWORD = "right-password-1"
WRONG = "wrong-password-1"


@pytest.fixture
def guarded(postgres: Postgres, database_url: str) -> Iterator[str]:
    """URL without a password of a user who needs one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role guarded superuser login password '{PASSWORD}'")
        row = connection.execute("select current_setting('hba_file')").fetchone()
        assert row is not None
        file = Path(row[0])
        before = file.read_text()
        file.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
        connection.execute("select pg_reload_conf()")
        yield f"guarded:{{}}@127.0.0.1:{postgres.port}/{connection.info.dbname}"
        file.write_text(before)
        connection.execute("select pg_reload_conf()")
        connection.execute("drop role guarded")


def test_a_good_database_passes_and_is_described(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url, DATABASE_LISTEN_URL=database_url)
    result = doctor()
    assert (result.code, result.failed) == (0, [])
    assert "without TLS, direct connection" in result.sentence("database")
    assert "all required functions" in result.sentence("pgmq")
    assert result.sentence("migrations").startswith("all ")
    assert "image_generation_queue" in result.sentence("queues")
    assert "only service_role reads" in result.sentence("roles and rights")
    assert result.sentence("kv table").startswith("kv_store_7ee7668a (key text, value jsonb)")
    assert "arrived" in result.sentence("listen")


def test_without_a_listening_address_processes_poll(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url)
    result = doctor()
    assert (result.code, result.state("listen")) == (0, "not set")


def test_looking_changes_nothing(doctor: Doctor, empty_database_url: str) -> None:
    doctor.set(DATABASE_URL=empty_database_url)
    doctor()
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute(
            "select count(*) from pg_namespace where nspname in ('pgmq', 'superstoryboard')"
        ).fetchone()
    assert row == (0,)


def test_a_database_without_pgmq_and_migrations(doctor: Doctor, empty_database_url: str) -> None:
    doctor.set(DATABASE_URL=empty_database_url)
    result = doctor()
    assert result.code == 1
    assert result.failed == ["pgmq", "migrations", "kv table"]
    assert "the database has no pgmq" in result.sentence("pgmq")
    assert "storyboard migrate" in result.sentence("pgmq")
    assert "Run `storyboard migrate`" in result.sentence("migrations")
    assert "storyboard migrate" in result.sentence("kv table")


def test_a_wrong_password_is_named_and_never_printed(doctor: Doctor, guarded: str) -> None:
    doctor.hide(PASSWORD, WRONG)
    doctor.set(DATABASE_URL=f"postgresql://{guarded.format(PASSWORD)}")
    assert doctor().state("database") == "ok"
    doctor.set(DATABASE_URL=f"postgresql://{guarded.format(WRONG)}")
    result = doctor()
    assert result.code == 1
    assert result.sentence("database") == (
        "the user or password was rejected. Correct the user and password in DATABASE_URL."
    )
    assert [check["name"] for check in result.checks if check["name"] == "pgmq"] == []


def test_nobody_there_exits_3(doctor: Doctor) -> None:
    doctor.hide("some-password")
    doctor.set(DATABASE_URL=f"postgresql://someone:some-password@127.0.0.1:{free_port()}/none")
    result = doctor()
    assert result.code == 3
    assert "Check host and port of DATABASE_URL" in result.sentence("database")


def test_a_url_that_is_none_exits_2_and_is_not_quoted(doctor: Doctor) -> None:
    doctor.hide("some:password", "secret-part")
    doctor.set(DATABASE_URL="some:password secret-part")
    result = doctor()
    assert result.code == 2
    assert "Write DATABASE_URL as postgresql://" in result.sentence("database")


def test_a_database_that_is_not_there(doctor: Doctor, postgres: Postgres) -> None:
    doctor.set(DATABASE_URL=postgres.url_of("nowhere"))
    assert "the database does not exist" in doctor().sentence("database")


def test_tls_that_the_server_lacks(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=make_conninfo(database_url, sslmode="require"))
    assert "sslmode" in doctor().sentence("database")


def test_a_pending_migration(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("delete from superstoryboard.schema_migrations where version = '20250101000210'")
    doctor.set(DATABASE_URL=database_url)
    result = doctor()
    assert result.failed == ["migrations"]
    assert "1 pending: 20250101000210_create_pgmq_send_wrapper. Run `storyboard migrate`." in (
        result.sentence("migrations")
    )


def test_a_changed_migration(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("update superstoryboard.schema_migrations set checksum = 'other' where version = '20250101000210'")
    doctor.set(DATABASE_URL=database_url)
    assert "changed since they were applied: 20250101000210_" in doctor().sentence("migrations")


def test_a_database_ahead_of_this_program_only_warns(
    doctor: Doctor, database_url: str, sql: psycopg.Connection
) -> None:
    sql.execute("insert into superstoryboard.schema_migrations values ('29990101000000', 'later', 'x')")
    doctor.set(DATABASE_URL=database_url)
    result = doctor()
    assert (result.code, result.state("migrations")) == (0, "warning")
    assert "Update this program" in result.sentence("migrations")


def test_a_pgmq_that_lacks_a_function(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("drop function pgmq.set_vt(text, bigint, integer)")
    doctor.set(DATABASE_URL=database_url)
    sentence = doctor().sentence("pgmq")
    assert "missing functions: pgmq.set_vt(text, bigint, integer)" in sentence
    assert "alter extension pgmq update" in sentence


def test_a_queue_that_was_dropped(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("drop view pgmq.video_generation_queue")
    sql.execute("select pgmq.drop_queue('video_generation_queue')")
    doctor.set(DATABASE_URL=database_url)
    assert "select pgmq.create('video_generation_queue');" in doctor().sentence("queues")


def test_rights_that_are_too_much_and_too_little(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    doctor.set(DATABASE_URL=database_url)
    sql.execute("grant execute on function public.pgmq_read(text, integer, integer) to anon")
    excess = doctor()
    assert "anon may, but must not, call public.pgmq_read" in excess.sentence("roles and rights")
    assert "revoke execute" in excess.sentence("roles and rights")
    sql.execute("revoke execute on function public.pgmq_read(text, integer, integer) from anon")
    sql.execute("revoke execute on function public.pgmq_send(text, jsonb) from authenticated")
    lacking = doctor().sentence("roles and rights")
    assert "grant execute on function public.pgmq_send(text, jsonb) to authenticated;" in lacking


def test_anon_may_send_only_where_that_is_set(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("grant execute on function public.pgmq_send(text, jsonb) to anon")
    doctor.set(DATABASE_URL=database_url)
    assert doctor().failed == ["roles and rights"]
    doctor.set(ANON_MAY_SEND="true")
    assert doctor().failed == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("create table other_kv (key text primary key, value text)", "value text"),
        ("create table other_kv (key text, value jsonb)", "no unique key"),
        ("create table other_kv (id text primary key)", "key missing"),
        ("select 1", "is missing"),
    ],
)
def test_a_kv_table_of_another_form(
    doctor: Doctor, database_url: str, sql: psycopg.Connection, table: str, words: str
) -> None:
    sql.execute(table.encode())
    doctor.set(DATABASE_URL=database_url, KV_TABLE="other_kv")
    result = doctor()
    assert (result.code, result.failed) == (1, ["kv table"])
    assert words in result.sentence("kv table")


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("grant all on other_kv to anon", "can be accessed with the publishable key"),
        ("grant select on other_kv to public", "anon may select and authenticated may select"),
        ("alter table other_kv enable row level security; grant all on other_kv to authenticated", "only row-level"),
        (
            "alter table other_kv enable row level security; grant insert on other_kv to authenticated",
            "the owners of storyboards that it names prove nothing",
        ),
        ("select 1", "row-level security of other_kv is off"),
    ],
)
def test_a_kv_table_that_browsers_could_reach(
    doctor: Doctor, database_url: str, sql: psycopg.Connection, statements: str, words: str
) -> None:
    sql.execute(f"create table other_kv (key text primary key, value jsonb); {statements}".encode())
    doctor.set(DATABASE_URL=database_url, KV_TABLE="other_kv")
    result = doctor()
    assert (result.code, result.state("kv table")) == (0, "warning")
    assert words in result.sentence("kv table")
    action = result.of("kv table")["action"].partition("by SQL: ")[2]
    sql.execute(action.encode())
    assert doctor().state("kv table") == "ok"


def test_a_kv_table_that_is_no_name(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url, KV_TABLE="no; name")
    assert doctor().code == 2


def test_listening_to_another_database(doctor: Doctor, database_url: str, empty_database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url, DATABASE_LISTEN_URL=empty_database_url)
    result = doctor()
    assert result.failed == ["listen"]
    assert "name different databases" in result.sentence("listen")


def test_a_listening_address_where_nobody_is(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url, DATABASE_LISTEN_URL=f"postgresql://a@127.0.0.1:{free_port()}/b")
    result = doctor()
    assert (result.code, result.failed) == (3, ["listen"])
    assert "DATABASE_LISTEN_URL" in result.sentence("listen")


def test_a_user_without_rights(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("create role poor login")
    try:
        doctor.set(DATABASE_URL=make_conninfo(database_url, user="poor"))
        result = doctor()
        assert result.code == 1
        assert "permission denied" in result.sentence("rights of this user")
        assert "Use the owner of the schema" in result.sentence("rights of this user")
    finally:
        sql.execute("drop role poor")
