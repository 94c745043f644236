"""Row-level security on the queue tables, as Supabase's dashboard switches it on, holds back others and not us."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from superstoryboard.db.database import Database
from tests.integration.helpers import (
    IMAGE_QUEUE,
    VIDEO_QUEUE,
    accept,
    claim_one,
    finish,
    image_queue,
    row,
    stage,
    video_queue,
)

TABLES = [f"{letter}_{queue}" for letter in "qa" for queue in (IMAGE_QUEUE, VIDEO_QUEUE)]
BODY = '{"storyboardId": "board", "prompt": "a fox"}'
# What a hosted project has: our migrations are run by an owner who is no superuser, for whom RLS is not off anyway.
OWNER = "project_owner"


@pytest.fixture
def owned(sql: psycopg.Connection) -> psycopg.Connection:
    """The database with everything of ours and of PGMQ in the hands of a plain role, and row-level security on."""
    sql.execute(f"""
        do $$
        declare
          target record;
        begin
          if not exists (select from pg_roles where rolname = '{OWNER}') then
            create role {OWNER} nologin;
          end if;
          for target in
            select c.oid::regclass as name,
              case c.relkind when 'S' then 'sequence' when 'v' then 'view' else 'table' end as kind
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in ('superstoryboard', 'pgmq', 'public') and c.relkind in ('r', 'v', 'S')
              and not exists (  -- sequences of columns go with their tables
                select from pg_depend d where d.objid = c.oid and d.deptype in ('i', 'a') and c.relkind = 'S')
          loop
            execute format('alter %s %s owner to {OWNER}', target.kind, target.name);
          end loop;
          for target in
            select p.oid::regprocedure as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in ('superstoryboard', 'pgmq', 'public')
          loop
            execute format('alter routine %s owner to {OWNER}', target.name);
          end loop;
          grant usage, create on schema superstoryboard, pgmq, public to {OWNER};
          grant anon, authenticated, service_role to {OWNER};
        end
        $$;
    """)
    for table in TABLES:
        sql.execute(f"alter table pgmq.{table} enable row level security")
    return sql


@pytest.fixture
async def database(owned: psycopg.Connection, database_url: str) -> AsyncIterator[Database]:
    """A pool of the owner's: the services."""
    del owned
    opened = await Database.connect(f"{database_url}?options=-c%20role%3D{OWNER}", name="owner")
    yield opened
    await opened.aclose()


async def test_everything_works_with_row_level_security_on(owned: psycopg.Connection, database: Database) -> None:
    who = await database.fetch_one("select current_user as name, row_security_active('pgmq.q_image_generation_queue')")
    assert who == {"name": OWNER, "row_security_active": False}
    owned.execute(f"set role {OWNER}")
    for number, queue in enumerate((IMAGE_QUEUE, VIDEO_QUEUE), 1):
        assert owned.execute("select public.pgmq_send(%s, %s::jsonb)", (queue, BODY)).fetchone() == (1,), number
    owned.execute("set role authenticated")
    assert owned.execute("select public.pgmq_send(%s, %s::jsonb)", (IMAGE_QUEUE, BODY)).fetchone() == (2,)
    owned.execute("set role service_role")
    read = owned.execute("select msg_id from public.pgmq_read(%s, 0, 5)", (IMAGE_QUEUE,)).fetchall()
    assert read == [(1,), (2,)]
    assert owned.execute("select public.pgmq_archive(%s, 1)", (IMAGE_QUEUE,)).fetchone() == (True,)
    assert owned.execute("select public.pgmq_delete(%s, 2)", (IMAGE_QUEUE,)).fetchone() == (True,)
    owned.execute("reset role")
    await database.fetch("select * from superstoryboard.sweep()")
    job_id = await accept(database)
    claimed = await claim_one(image_queue(database))
    assert claimed.id == job_id
    assert (await finish(database, await stage(database, claimed)))[0] == "SUCCEEDED"
    assert (await row(database, job_id))["state"] == "SUCCEEDED"
    assert (await claim_one(video_queue(database))).kind == "video"


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_others_see_no_message_even_with_a_grant(owned: psycopg.Connection, role: str) -> None:
    owned.execute("select public.pgmq_send(%s, %s::jsonb)", (IMAGE_QUEUE, BODY))
    owned.execute(f"grant usage on schema pgmq to {role}")
    owned.execute(f"grant select, update, delete on pgmq.q_{IMAGE_QUEUE} to {role}")
    owned.execute(f"set role {role}")
    assert owned.execute(f"select count(*) from pgmq.q_{IMAGE_QUEUE}").fetchone() == (0,)
    assert owned.execute("select count(*) from pgmq.read(%s, 1, 1)", (IMAGE_QUEUE,)).fetchone() == (0,)
