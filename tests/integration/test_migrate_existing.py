"""Migrating a project that works already: its queues, functions, views and rows, by a role that is no superuser."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pgmq.install import get_embedded_install_sql
from psycopg.conninfo import make_conninfo

from devstack.stack.postgres import Postgres
from superstoryboard.db.migrate import MigrationError, migrate, read_migrations
from tests.conftest import admin

KV = "kv_store_7ee7668a"
IMAGES, VIDEOS = "image_generation_queue", "video_generation_queue"
OWNER, REPORTING, STRANGER = "hosted_postgres", "hosted_reporting", "hosted_stranger"
NOTHING_TO_DO = ["Nothing to do: the schema is up to date."]
_numbers = itertools.count()

MESSAGE_RECORD = f"""
create function public.pgmq_read(queue_name text, vt integer, qty integer) returns setof pgmq.message_record
  language sql security definer as 'select * from pgmq.read($1, $2, $3)';
create function public.pgmq_send(queue_name text, message jsonb) returns setof bigint
  language sql security definer as 'select * from pgmq.send($1, $2)';
create function public.pgmq_delete(queue_name text, msg_id bigint) returns boolean
  language sql security definer as 'select pgmq.delete($1, $2)';
grant execute on function public.pgmq_read(text, integer, integer) to {REPORTING};
"""
RECORD = """
create function public.pgmq_read(queue_name text, vt integer, qty integer) returns setof record
  language plpgsql security definer as 'begin return query select * from pgmq.read($1, $2, $3); end';
create function public.pgmq_send(queue_name text, message jsonb) returns bigint
  language plpgsql security definer as 'begin return (select pgmq.send($1, $2)); end';
create function public.pgmq_delete(queue_name text, msg_id bigint) returns void
  language sql security definer as 'select pgmq.delete($1, $2)';
create function public.pgmq_archive(queue_name text, msg_id bigint) returns void
  language sql security definer as 'select pgmq.archive($1, $2)';
"""
OTHER_NAMES = """
create function public.pgmq_read(queue text, sleep_seconds integer default 30, n integer default 1)
  returns table (id bigint, body jsonb) language sql as 'select msg_id, message from pgmq.read($1, $2, $3)';
create function public.pgmq_send(queue text, msg jsonb) returns bigint
  language sql as 'select * from pgmq.send($1, $2)';
create function public.pgmq_delete(queue text, message_id bigint) returns boolean
  language sql as 'select pgmq.delete($1, $2)';
"""
FORMS = {"setof message_record": MESSAGE_RECORD, "setof record": RECORD, "other names": OTHER_NAMES, "no functions": ""}
VIEWS = {
    "of all columns": f"create view pgmq.{IMAGES} as select * from pgmq.q_{IMAGES}",
    "with other columns": f"create view pgmq.{IMAGES} as select msg_id as id, message ->> 'prompt' as prompt"
    f" from pgmq.q_{IMAGES}",
    "a table": f"create table pgmq.{IMAGES} (msg_id bigint); insert into pgmq.{IMAGES} values (7)",
}


@pytest.fixture
def project(postgres: Postgres) -> Iterator[str]:
    """A database as a hosted project has it: owned by a role without superuser, open by default privileges."""
    for role, attributes in ((OWNER, "login createrole"), (REPORTING, "nologin"), (STRANGER, "login")):
        admin(
            postgres, f"do $$ begin create role {role} {attributes}; exception when duplicate_object then null; end $$"
        )
    admin(postgres, f"grant anon, authenticated, service_role, {REPORTING} to {OWNER}")
    name = f"project_{next(_numbers)}"
    admin(postgres, f"create database {name} owner {OWNER} template template1")
    url = make_conninfo(postgres.url_of(name), user=OWNER)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(get_embedded_install_sql())
        for things in ("tables", "functions"):
            connection.execute(
                f"alter default privileges in schema public grant all on {things} to anon, authenticated, service_role"
            )
        for queue in (IMAGES, VIDEOS):
            connection.execute("select pgmq.create(%s)", (queue,))
            for number in range(3):
                connection.execute("select pgmq.send(%s, jsonb_build_object('prompt', 'p', 'n', %s))", (queue, number))
            connection.execute("select pgmq.archive(%s, 1::bigint)", (queue,))
        connection.execute(f"create table {KV} (key text primary key, value jsonb not null, note text)")
        connection.execute(f"insert into {KV} values ('scene:1', '{{\"title\": \"t\"}}', 'mine')")
    yield url
    admin(postgres, f"drop database {name} with (force)")


def rows(connection: psycopg.Connection, statement: str) -> list[tuple[object, ...]]:
    return connection.execute(statement.encode()).fetchall()


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """What the project had before us, read by its own statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = {KV: rows(connection, f"select * from {KV} order by key")}
        for queue in (IMAGES, VIDEOS):
            for table in (f"q_{queue}", f"a_{queue}"):
                tables[table] = rows(connection, f"select msg_id, enqueued_at, message from pgmq.{table} order by 1")
    return tables


def made(url: str) -> set[str]:
    """Everything that stands in the project's schemas, with kind, columns and source."""
    with psycopg.connect(url, autocommit=True) as connection:
        return {
            str(row)
            for row in rows(
                connection,
                "select n.nspname, relname, relkind, array(select attname from pg_attribute where attrelid = c.oid),"
                " relacl"
                " from pg_class c join pg_namespace n on n.oid = relnamespace where nspname in ('public', 'pgmq')"
                " union all select n.nspname, proname, prokind, array[prosrc::name], proacl"
                " from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname in ('public', 'pgmq')"
                " union all select nspname, '', 'n', null, nspacl from pg_namespace"
                " union all select tgrelid::regclass::text, tgname, 't', null, null from pg_trigger",
            )
        }


def prepare(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


@pytest.mark.parametrize("form", FORMS)
def test_a_project_with_functions_of_its_own_gets_ours(project: str, form: str) -> None:
    prepare(project, FORMS[form])
    before = contents(project)
    done = migrate(project, kv_table=KV)
    assert [line for line in done if not line.startswith("Applied")] == []
    assert contents(project) == before
    assert migrate(project, kv_table=KV) == NOTHING_TO_DO
    with psycopg.connect(project, autocommit=True) as connection:
        connection.execute("set role service_role")
        cursor = connection.execute("select * from public.pgmq_read(queue_name => %s, vt => 0, qty => 5)", (IMAGES,))
        assert [each.name for each in cursor.description or []] == ["msg_id", "read_ct", "enqueued_at", "vt", "message"]
        assert [line[0] for line in cursor.fetchall()] == [2, 3]
        sent = connection.execute("select public.pgmq_send(queue_name => %s, message => '{}')", (IMAGES,)).fetchone()
        assert sent == (4,)
        assert connection.execute("select public.pgmq_delete(queue_name => %s, msg_id => 4)", (IMAGES,)).fetchone() == (
            True,
        )
        assert connection.execute("select public.pgmq_archive(%s, 2)", (IMAGES,)).fetchone() == (True,)


@pytest.mark.parametrize("form", FORMS)
def test_the_roles_of_browsers_get_nothing_of_what_was_open(project: str, form: str) -> None:
    prepare(project, FORMS[form])
    migrate(project, kv_table=KV)
    with psycopg.connect(project, autocommit=True) as connection:
        allowed = rows(
            connection,
            "select role, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace,"
            " unnest(array['anon', 'authenticated', 'service_role']) role"
            " where n.nspname = 'public' and has_function_privilege(role, p.oid, 'execute') order by 1, 2",
        )
    assert allowed == [
        ("authenticated", "pgmq_send"),
        *(("service_role", f"pgmq_{verb}") for verb in ("archive", "delete", "read", "send")),
    ]


def test_grants_of_others_go_over_to_the_new_function(project: str) -> None:
    prepare(project, MESSAGE_RECORD)
    migrate(project, kv_table=KV)
    with psycopg.connect(project, autocommit=True) as connection:
        calls = "public.pgmq_read(text, integer, integer)", "public.pgmq_send(text, jsonb)"
        rights = [
            connection.execute("select has_function_privilege(%s, %s, 'execute')", (REPORTING, call)).fetchone()
            for call in calls
        ]
    assert rights == [(True,), (False,)]


@pytest.mark.parametrize("view", VIEWS)
def test_what_stands_where_the_monitoring_view_would_is_left_alone(project: str, view: str) -> None:
    prepare(project, VIEWS[view])
    with psycopg.connect(project, autocommit=True) as connection:
        before = rows(connection, f"select * from pgmq.{IMAGES}")
    done = migrate(project, kv_table=KV)
    assert [line for line in done if f"pgmq.{IMAGES} is left as it is" in line and f"Read pgmq.q_{IMAGES}" in line]
    with psycopg.connect(project, autocommit=True) as connection:
        assert rows(connection, f"select * from pgmq.{IMAGES}") == before
        assert len(rows(connection, f"select message from pgmq.{VIDEOS}")) == 2


def test_a_view_upon_a_function_is_named_and_nothing_is_changed(project: str) -> None:
    prepare(project, MESSAGE_RECORD + f"create view public.peek as select * from public.pgmq_read('{IMAGES}', 0, 1);")
    before, stood = contents(project), made(project)
    with pytest.raises(MigrationError, match=r"view peek depends on function pgmq_read\(") as caught:
        migrate(project, kv_table="other_kv")
    assert "Drop these objects" in str(caught.value)
    assert "Nothing was changed" in str(caught.value)
    assert (contents(project), made(project)) == (before, stood)
    prepare(project, "drop view public.peek")
    assert "Created table other_kv." in migrate(project, kv_table="other_kv")
    assert contents(project) == before


@pytest.mark.parametrize("number", range(0, len(read_migrations()), 3))
def test_a_file_that_fails_leaves_nothing_behind(project: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(project, RECORD)
    before, stood = contents(project), made(project)
    files = read_migrations()
    broken = type(files[0])(files[number].version, files[number].name, files[number].text + "\nselect 1 / 0;")
    with monkeypatch.context() as patch:
        patch.setattr("superstoryboard.db.migrate.read_migrations", lambda: [*files[:number], broken])
        with pytest.raises(MigrationError, match="division by zero"):
            migrate(project, kv_table="other_kv")
    assert (contents(project), made(project)) == (before, stood)
    migrate(project, kv_table="other_kv")
    assert contents(project) == before


def test_two_migrations_of_a_project_at_once(project: str) -> None:
    prepare(project, RECORD)
    before = contents(project)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: migrate(project, kv_table=KV), range(2)))
    assert NOTHING_TO_DO in done
    assert contents(project) == before


def test_what_belongs_to_another_role_is_named_with_the_way_out(project: str) -> None:
    prepare(project, MESSAGE_RECORD)
    stood = made(project)
    stranger = make_conninfo(project, user=STRANGER)
    with pytest.raises(MigrationError) as caught:
        migrate(stranger, kv_table=KV)
    message = str(caught.value)
    assert f"table pgmq.q_{IMAGES} belongs to the role {OWNER}. Migrate as that role" in message
    assert f"alter table pgmq.a_{VIDEOS} owner to {STRANGER};" in message
    assert "function public.pgmq_send(queue_name text, message jsonb) belongs" in message
    assert made(project) == stood


def test_a_role_that_may_create_no_roles_still_migrates(project: str, postgres: Postgres) -> None:
    admin(postgres, f"alter role {OWNER} nocreaterole")
    try:
        migrate(project, kv_table=KV)
    finally:
        admin(postgres, f"alter role {OWNER} createrole")
    assert migrate(project, kv_table=KV) == NOTHING_TO_DO


def test_a_queue_whose_archive_was_dropped_gets_one(project: str) -> None:
    prepare(project, f"drop table pgmq.a_{IMAGES}")
    migrate(project, kv_table=KV)
    with psycopg.connect(project, autocommit=True) as connection:
        assert rows(connection, f"select count(*) from pgmq.a_{IMAGES}") == [(0,)]
        assert rows(connection, f"select count(*) from pgmq.q_{IMAGES}") == [(2,)]


def test_a_new_kv_table_is_closed_although_the_project_opens_new_tables(project: str) -> None:
    migrate(project, kv_table="new_kv")
    with psycopg.connect(project, autocommit=True) as connection:
        [secured] = rows(connection, "select relrowsecurity from pg_class where oid = 'new_kv'::regclass")
        held = rows(
            connection,
            "select role, verb from unnest(array['anon', 'authenticated']) role,"
            " unnest(array['select', 'insert', 'update', 'delete', 'truncate']) verb"
            " where has_table_privilege(role, 'new_kv', verb)",
        )
        assert (secured, held) == ((True,), [])
        connection.execute("insert into new_kv values ('scene:1', '{}')")
        assert rows(connection, "select key from new_kv") == [("scene:1",)]
        # The project's own table keeps what it has.
        assert rows(connection, f"select relrowsecurity from pg_class where oid = '{KV}'::regclass") == [(False,)]
        assert rows(connection, f"select has_table_privilege('anon', '{KV}', 'select')") == [(True,)]


def test_the_views_obey_the_row_level_security_of_the_queues(project: str) -> None:
    migrate(project, kv_table=KV)
    with psycopg.connect(project, autocommit=True) as connection:
        connection.execute(f"alter table pgmq.q_{IMAGES} enable row level security")
        connection.execute(f"grant usage on schema pgmq to {REPORTING}")
        connection.execute(f"grant select on pgmq.{IMAGES}, pgmq.q_{IMAGES} to {REPORTING}")
        assert rows(connection, f"select count(*) from pgmq.{IMAGES}") == [(2,)]
        connection.execute(f"set role {REPORTING}")
        assert rows(connection, f"select count(*) from pgmq.{IMAGES}") == [(0,)]


def test_only_the_owner_executes_functions_of_our_schema(project: str) -> None:
    migrate(project, kv_table=KV)
    with psycopg.connect(project, autocommit=True) as connection:
        everybody = rows(
            connection,
            "select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname = 'superstoryboard' and exists ("
            "   select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)",
        )
        unpinned = rows(
            connection,
            "select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname in ('superstoryboard', 'public') and p.prosecdef"
            " and not coalesce(p.proconfig::text like '%search_path=%', false)",
        )
    assert (everybody, unpinned) == ([], [])
