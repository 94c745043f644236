"""Every role tries all that it must not do, on real tables and functions (decision 0047)."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from superstoryboard import jobs
from superstoryboard.db.logins import SERVICES, group_of
from superstoryboard.db.migrate import migrate
from superstoryboard.db.statements import read_statements
from tests.conftest import KV_TABLE
from tests.integration.helpers import IMAGE_QUEUE, VIDEO_QUEUE
from tests.integration.role_steps import (
    MAY_CALL,
    MAY_READ,
    OF_THE_OWNER,
    OTHERS,
    STATEMENTS,
    STRANGER,
    acting_as,
    make_roles,
    may_call,
    refusal,
)

DENIED = "42501"
ALL_ROLES = (*SERVICES, *OTHERS)
PINNED = ["search_path=pg_catalog, pg_temp"]
RELATIONS = """
select c.oid::regclass::text, a.attname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 2
where c.relnamespace in ('superstoryboard'::regnamespace, 'pgmq'::regnamespace) and c.relkind in ('r', 'p', 'v')
"""
FUNCTIONS = """
select p.proname::text, format('select %s(%s)', p.oid::regproc,
  (select string_agg(format('null::%s', format_type(t, null)), ', ') from unnest(p.proargtypes) t))
from pg_proc p where p.pronamespace = 'superstoryboard'::regnamespace and p.prorettype <> 'trigger'::regtype
"""

# Refused to everybody but the owner.
ATTEMPTS = [
    "set role postgres",
    "set session authorization postgres",
    f"create role {STRANGER}_2",
    "create function superstoryboard.mine() returns int language sql as 'select 1'",
    "create table superstoryboard.mine (a int)",
    "create table pgmq.mine (a int)",
    "alter table superstoryboard.jobs disable row level security",
    "create policy mine on superstoryboard.jobs using (true)",
    *(
        f"create trigger mine before insert on {table} execute function suppress_redundant_updates_trigger()"
        for table in ("superstoryboard.jobs", f"pgmq.q_{IMAGE_QUEUE}", KV_TABLE)
    ),
    "create rule mine as on insert to superstoryboard.jobs do instead nothing",
    "alter function superstoryboard.serves(text) reset search_path",
    "create or replace function public.pgmq_send(text, jsonb) returns bigint language sql as 'select 1::bigint'",
    f"select pgmq.send('{IMAGE_QUEUE}', '{{}}')",
    f"select pgmq.read('{IMAGE_QUEUE}', 1, 1)",
    f"select pgmq.purge_queue('{IMAGE_QUEUE}')",
    f"select pgmq.drop_queue('{IMAGE_QUEUE}')",
    "select pgmq.create('mine')",
    "select last_value from superstoryboard.notified_queue",
    "select setval('superstoryboard.notified_queue', 1)",
    f"select * from {KV_TABLE}",
    "copy superstoryboard.jobs to program 'cat'",
    "select pg_read_file('PG_VERSION')",
    "select rolpassword from pg_authid",
    "lock superstoryboard.jobs",
]


@pytest.fixture(scope="module")
def url(module_database_url: str) -> str:
    make_roles(module_database_url)
    return module_database_url


def look(url: str, statement: str) -> list[tuple[str, str]]:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(statement.encode()).fetchall()
    assert rows
    return rows


@pytest.mark.parametrize("role", ALL_ROLES)
def test_a_role_reads_what_is_for_it_and_writes_no_table(url: str, role: str) -> None:
    relations = look(url, RELATIONS)
    writes = ("insert into {0} default values", "update {0} set {1} = {1}", "delete from {0}", "truncate {0}")
    with acting_as(url, role) as connection:
        readable = {name for name, _ in relations if refusal(connection, f"select * from {name}") is None}
        changed = [
            statement
            for name, column in relations
            for statement in (form.format(name, column) for form in writes)
            # Nobody can truncate a view, or write one that joins.
            if refusal(connection, statement) not in (DENIED, "42809", "55000")
        ]
    assert readable == {f"superstoryboard.{name}" for name in MAY_READ.get(role, ())}
    assert changed == []


@pytest.mark.parametrize("role", ALL_ROLES)
def test_a_role_calls_its_own_functions_and_no_other(url: str, role: str) -> None:
    functions = look(url, FUNCTIONS)
    with acting_as(url, role) as connection:
        connection.execute("set statement_timeout = '10s'")
        callable_ = {name for name, call in functions if may_call(connection, name, call)}
    assert callable_ == MAY_CALL.get(role, set())


@pytest.mark.parametrize("role", ALL_ROLES)
def test_no_role_becomes_another_or_changes_the_schema(url: str, role: str) -> None:
    other = group_of("ingest" if role == "asset_writer" else "asset_writer")
    attempts = [*ATTEMPTS, f"set role {other}", f"set role {other}_login", f"grant {other} to current_user"]
    with acting_as(url, role) as connection:
        if role not in SERVICES and role != STRANGER:
            # The session of the test itself is a superuser's, who may go back.
            attempts.remove("set session authorization postgres")
            attempts = [each for each in attempts if not each.startswith("set role")]
        if role == "service_role":
            attempts.remove(f"select * from {KV_TABLE}")
        done = [each for each in attempts if refusal(connection, each) not in (DENIED, "42P17")]
    assert done == []


@pytest.mark.parametrize("role", SERVICES)
def test_services_do_not_call_the_functions_of_clients(url: str, role: str) -> None:
    with acting_as(url, role) as connection:
        for call in (f"pgmq_send('{IMAGE_QUEUE}', '{{}}')", f"pgmq_read('{IMAGE_QUEUE}', 1, 1)"):
            assert refusal(connection, f"select public.{call}") == DENIED
        for column in ("raw_body", "generation", "owner"):
            allowed = role == "ingest"
            assert (refusal(connection, f"select {column} from superstoryboard.jobs") is None) is allowed


def test_each_service_may_run_every_statement_that_it_has(url: str) -> None:
    files = {file.stem: read_statements(file) for file in Path(jobs.__file__).parent.glob("*.sql")}
    all_statements = {f"{file}.{name}" for file, statements in files.items() for name in statements}
    assert set().union(OF_THE_OWNER, *STATEMENTS.values()) == all_statements
    lacking = []
    for role, names in STATEMENTS.items():
        with acting_as(url, role) as connection:
            connection.execute("set statement_timeout = '10s'")
            for file, name in (each.split(".") for each in sorted(names)):
                # Other values do not matter: rights are looked at before them.
                statement = files[file][name].replace("%(queue)s", f"'{role.partition('_')[0]}_generation_queue'")
                if refusal(connection, re.sub(r"%\(\w+\)s", "null", statement).replace("%%", "%")) == DENIED:
                    lacking.append(f"{role}: {file}.{name}")
    assert lacking == []


def test_functions_with_the_owners_rights_have_a_pinned_path_and_are_not_for_everybody(url: str) -> None:
    with psycopg.connect(url) as connection:
        ours = connection.execute(
            "select p.oid::regprocedure::text, p.proconfig, p.prosecdef, exists ("
            "  select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)"
            " from pg_proc p where p.pronamespace = 'superstoryboard'::regnamespace"
            " or p.pronamespace = 'public'::regnamespace and p.proname like 'pgmq%'"
        ).fetchall()
    with_rights = {name: set(config or ()) for name, config, definer, _ in ours if definer}
    assert len(with_rights) > 50
    assert [name for name, config in with_rights.items() if not config.issuperset(PINNED)] == []
    assert [name for name, _, _, everybody in ours if everybody] == []


def test_every_table_of_ours_has_row_level_security_and_every_view_the_readers_rights(url: str) -> None:
    with psycopg.connect(url) as connection:
        off = connection.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'p') and not relrowsecurity"
            " and (relnamespace = 'superstoryboard'::regnamespace"
            "   or relnamespace = 'pgmq'::regnamespace and relname ~ '^[qa]_')"
        ).fetchall()
        views = connection.execute(
            "select oid::regclass::text from pg_class where relkind = 'v'"
            " and relnamespace = 'superstoryboard'::regnamespace"
            " and not coalesce('security_invoker=true' = any (reloptions), false)"
        ).fetchall()
    assert (off, views) == ([], [])


def test_queues_and_partitions_of_later_are_covered_by_the_next_migration(empty_database_url: str) -> None:
    migrate(empty_database_url, kv_table=KV_TABLE)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            f"drop table pgmq.q_{VIDEO_QUEUE} cascade;"
            f"create table pgmq.q_{VIDEO_QUEUE} (msg_id bigint) partition by range (msg_id);"
            f"create table pgmq.q_{VIDEO_QUEUE}_p1 partition of pgmq.q_{VIDEO_QUEUE} for values from (1) to (9);"
            "select pgmq.create('audio');"
            "insert into superstoryboard.queues (name) values ('audio');"
            "create table superstoryboard.later (a int)".encode()
        )
        migrate(empty_database_url, kv_table=KV_TABLE)
        names = [f"pgmq.q_{VIDEO_QUEUE}", f"pgmq.q_{VIDEO_QUEUE}_p1", "pgmq.q_audio", "pgmq.a_audio"]
        on = connection.execute(
            "select bool_and(relrowsecurity), count(*) from pg_class where oid = any (%s::regclass[])",
            ([*names, "superstoryboard.later"],),
        ).fetchone()
    assert on == (True, 5)


def test_what_opens_a_schema_in_supabase_opens_nothing(empty_database_url: str) -> None:
    """As its documents tell people who expose a schema: all tables, routines and sequences to the three roles."""
    migrate(empty_database_url, kv_table=KV_TABLE)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"select public.pgmq_send('{IMAGE_QUEUE}', '{{}}')".encode())
        for things in ("tables", "routines", "sequences"):
            connection.execute(
                f"grant all on all {things} in schema superstoryboard, pgmq to anon, authenticated".encode()
            )
        connection.execute("grant usage on schema superstoryboard, pgmq to anon, authenticated")
    migrate(empty_database_url, kv_table=KV_TABLE)
    for role in ("anon", "authenticated"):
        with acting_as(empty_database_url, role) as connection:
            for table in ("superstoryboard.jobs", "superstoryboard.job_records", f"pgmq.q_{IMAGE_QUEUE}"):
                assert connection.execute(f"select count(*) from {table}".encode()).fetchone() == (0,)
            assert refusal(connection, "insert into superstoryboard.gates values ('p', 'm')") == DENIED
            assert refusal(connection, "select superstoryboard.sweep()") == DENIED
            assert refusal(connection, "select superstoryboard.accept_jobs_v1('[]')") == DENIED
