"""Migrations: from empty, again, twice at once, edited; and what clients run on the result (A3, A7, A12)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from superstoryboard.db import migrate as module
from superstoryboard.db.migrate import Migration, MigrationError, migrate, read_migrations

KV = "kv_store_7ee7668a"
QUEUES = ("image_generation_queue", "video_generation_queue")


def test_the_four_of_the_source_are_there_by_name() -> None:
    names = {migration.name for migration in read_migrations()}
    assert {
        "enable_pgmq_extension",
        "create_image_video_queues",
        "create_pgmq_public_wrappers",
        "create_pgmq_send_wrapper",
    } <= names


def test_migrating_twice_says_what_it_did_and_then_nothing(empty_database_url: str) -> None:
    first = migrate(empty_database_url, kv_table=KV)
    assert "Applied 20250101000100_create_image_video_queues." in first
    assert migrate(empty_database_url, kv_table=KV) == ["Nothing to do: the schema is up to date."]


def test_two_migrations_at_once_apply_everything_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate(empty_database_url, kv_table=KV), range(4)))
    applied = [line for lines in done for line in lines if line.startswith("Applied")]
    assert len(applied) == len(set(applied)) == len(read_migrations())


def test_an_edited_migration_is_refused(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(empty_database_url, kv_table=KV)
    changed = [Migration(m.version, m.name, m.text + "-- changed") for m in read_migrations()]
    monkeypatch.setattr(module, "read_migrations", lambda: changed)
    with pytest.raises(MigrationError, match="has changed since it was applied"):
        migrate(empty_database_url, kv_table=KV)


def test_an_existing_kv_table_is_never_altered(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("create table app_kv (key text primary key, value jsonb, extra int)")
        connection.execute("insert into app_kv values ('a', '1', 2)")
        migrate(empty_database_url, kv_table="app_kv")
        assert connection.execute("select * from app_kv").fetchall() == [("a", 1, 2)]


@pytest.mark.parametrize("queue", QUEUES)
def test_public_wrappers_work_as_the_source_has_them(sql: psycopg.Connection, queue: str) -> None:
    first = sql.execute("select public.pgmq_send(queue_name => %s, message => %s)", (queue, '{"a": 1}')).fetchone()
    second = sql.execute("select public.pgmq_send(%s, %s)", (queue, '{"a": 2}')).fetchone()
    assert (first, second) == ((1,), (2,))
    rows = sql.execute("select * from public.pgmq_read(queue_name => %s, vt => 30, qty => 5)", (queue,))
    assert [column.name for column in rows.description or []] == ["msg_id", "read_ct", "enqueued_at", "vt", "message"]
    assert [(line[0], line[1], line[4]) for line in rows.fetchall()] == [(1, 1, {"a": 1}), (2, 1, {"a": 2})]
    assert sql.execute("select public.pgmq_delete(%s, 1)", (queue,)).fetchone() == (True,)
    assert sql.execute("select public.pgmq_archive(%s, 2)", (queue,)).fetchone() == (True,)
    assert sql.execute("select public.pgmq_archive(%s, 2)", (queue,)).fetchone() == (False,)


@pytest.mark.parametrize(
    "call", ["pgmq_send(%s, '{}')", "pgmq_read(%s, 1, 1)", "pgmq_delete(%s, 1)", "pgmq_archive(%s, 1)"]
)
def test_wrappers_serve_only_our_queues(sql: psycopg.Connection, call: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="queue_name: unknown queue 'other'"):
        sql.execute(f"select public.{call}", ("other",))


@pytest.mark.parametrize(
    ("role", "call", "allowed"),
    [
        ("anon", "pgmq_send('image_generation_queue', '{}')", False),
        ("authenticated", "pgmq_send('image_generation_queue', '{}')", True),
        ("service_role", "pgmq_send('image_generation_queue', '{}')", True),
        ("authenticated", "pgmq_read('image_generation_queue', 1, 1)", False),
        ("authenticated", "pgmq_archive('image_generation_queue', 1)", False),
        ("service_role", "pgmq_read('image_generation_queue', 1, 1)", True),
        ("service_role", "pgmq_delete('image_generation_queue', 1)", True),
    ],
)
def test_wrappers_are_for_their_roles(sql: psycopg.Connection, role: str, call: str, allowed: bool) -> None:
    sql.execute(f"set role {role}")
    if allowed:
        sql.execute(f"select public.{call}")
    else:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql.execute(f"select public.{call}")


def test_anon_may_send_where_the_setting_says_so(empty_database_url: str) -> None:
    migrate(empty_database_url, kv_table=KV, anon_may_send=True)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("set role anon")
        assert connection.execute("select public.pgmq_send('image_generation_queue', '{}')").fetchone() == (1,)


def test_the_wrapper_records_the_callers_subject_as_owner(sql: psycopg.Connection) -> None:
    claims = json.dumps({"sub": "user-7", "role": "authenticated"})
    sql.execute("select set_config('request.jwt.claims', %s, false)", (claims,))
    sql.execute("select public.pgmq_send('image_generation_queue', '{\"storyboardId\": \"b\"}')")
    assert sql.execute("select owner, storyboard_id from superstoryboard.jobs").fetchall() == [("user-7", "b")]


@pytest.mark.parametrize(
    ("subject", "rule"),
    [
        ("sql", "reserved name"),
        ("service_role", "reserved name"),
        ("local", "reserved name"),
        (" ", "128 printable characters"),
        ("a" * 129, "128 printable characters"),
        ("user\nother", "128 printable characters"),
        ("user\u202eother", "128 printable characters"),
    ],
)
@pytest.mark.parametrize("setting", ["request.jwt.claims", "request.jwt.claim.sub"])
def test_the_wrapper_refuses_what_is_no_subject(sql: psycopg.Connection, setting: str, subject: str, rule: str) -> None:
    value = json.dumps({"sub": subject}) if setting == "request.jwt.claims" else subject
    sql.execute("select set_config(%s, %s, false)", (setting, value))
    sql.execute("set role authenticated")
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match=rule):
        sql.execute("select public.pgmq_send('image_generation_queue', '{}')")
    sql.execute("reset role")
    assert sql.execute("select from pgmq.q_image_generation_queue").fetchall() == []


@pytest.mark.parametrize("subject", ["Zoë 用户", "a" * 128, "auth0|5f7c", "local-1"])
def test_the_wrapper_takes_any_other_subject(sql: psycopg.Connection, subject: str) -> None:
    sql.execute("select set_config('request.jwt.claims', %s, false)", (json.dumps({"sub": subject}),))
    sql.execute("select public.pgmq_send('image_generation_queue', '{}')")
    assert sql.execute("select owner from superstoryboard.jobs").fetchall() == [(subject,)]


def test_the_views_show_the_queues(sql: psycopg.Connection) -> None:
    for queue in QUEUES:
        sql.execute('select pgmq.send(%s, \'{"prompt": "p"}\')', (queue,))
        rows = sql.execute(f"select message ->> 'prompt', read_ct from pgmq.{queue}").fetchall()
        assert rows == [("p", 0)]
