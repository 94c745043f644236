"""What a login of a service, or somebody with a foot in the database, tries in order to run code as the owner."""

from __future__ import annotations

import json
import uuid

import psycopg
import pytest

from superstoryboard.db.database import Database
from superstoryboard.jobs.artifacts import Artifacts
from tests.conftest import KV_TABLE
from tests.integration.helpers import FACTS, IMAGE_QUEUE, VIDEO_QUEUE, accept, claim_one, image_queue, stage
from tests.integration.role_steps import acting_as, make_roles, refusal

DENIED = "42501"
# Notes as whom it is run. Whoever calls it by a type, an operator or a trigger is what is looked for.
LOOT = """
create table pg_temp.loot (who name);
grant all on pg_temp.loot to public;
create function pg_temp.steal() returns boolean language plpgsql as
  $$ begin insert into pg_temp.loot values (current_user); return true; end $$;
create function pg_temp.steal_row() returns trigger language plpgsql as
  $$ begin insert into pg_temp.loot values (current_user); return new; end $$;
grant execute on function pg_temp.steal() to public;
"""
NO_LIMITS = "row(0, 0, 0)::superstoryboard.gate_limits"


@pytest.fixture
def url(database_url: str) -> str:
    make_roles(database_url)
    return database_url


def victims(connection: psycopg.Connection) -> set[str]:
    """As whom the thief's code was run, other than as itself."""
    return {row[0] for row in connection.execute("select who::text from pg_temp.loot where who <> current_user")}


def claim(queue: str, kind: str) -> str:
    return (
        f"select * from superstoryboard.claim_jobs_v1('{queue}', '{{{kind}}}', 'w', 1, 60, true, 'google', 'm',"
        f" {NO_LIMITS}, '{{}}')"
    )


def test_a_type_of_the_callers_own_is_not_taken_for_that_of_the_system(url: str) -> None:
    """Types are looked for in pg_temp before anywhere else, unless the path says otherwise."""
    with acting_as(url, "image_worker") as thief:
        thief.execute(LOOT)
        for name in ("text", "uuid", "jsonb", "timestamptz", "name", "regclass", "interval"):
            thief.execute(
                f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.steal())".encode(),
            )
        refusal(thief, claim(IMAGE_QUEUE, "image"))
        refusal(thief, "select superstoryboard.close_gate_v1('p', 'm', 1, 'r')")
        refusal(thief, f"select superstoryboard.release_job_v1('{uuid.uuid4()}', 1, 1, 'm')")
        thief.execute("select * from superstoryboard.queue_status_v1()")
        assert victims(thief) == set()


def test_tables_functions_and_a_path_of_the_callers_own_change_nothing(url: str) -> None:
    with acting_as(url, "image_worker") as thief:
        thief.execute(LOOT)
        thief.execute(
            "create view pg_temp.pg_roles as select 'x'::name as rolname, 0::oid as oid where pg_temp.steal()"
        )
        thief.execute("create table pg_temp.jobs (id uuid)")
        thief.execute(
            "create function pg_temp.clock_timestamp() returns timestamptz language plpgsql as"
            " $$ begin perform pg_temp.steal(); return now(); end $$"
        )
        thief.execute("set search_path = pg_temp, public, pg_catalog")
        thief.execute(claim(IMAGE_QUEUE, "image").encode())
        thief.execute("select * from superstoryboard.queue_status_v1()")
        assert victims(thief) == set()


def test_functions_that_others_may_create_in_public_are_never_called(url: str, sql: psycopg.Connection) -> None:
    """As in old projects, where everybody may create in schema public."""
    sql.execute("create table public.loot (who name); grant all on public.loot to public")
    sql.execute("grant create on schema public to authenticated")
    with acting_as(url, "authenticated") as thief:
        thief.execute("""
            create function public.steal(text, text) returns boolean language plpgsql as
              $$ begin insert into public.loot values (current_user); return true; end $$;
            create function public.steal(text[], text[]) returns boolean language plpgsql as
              $$ begin insert into public.loot values (current_user); return true; end $$;
            create operator public.= (function = public.steal, leftarg = text, rightarg = text);
            create operator public.= (function = public.steal, leftarg = text[], rightarg = text[]);
            create operator public.@> (function = public.steal, leftarg = text[], rightarg = text[]);
            create function public.format(text, text) returns text language plpgsql as
              $$ begin insert into public.loot values (current_user); return $1; end $$;
            create function public.greatest_of(text, text) returns text language sql as 'select $1';
        """)
        thief.execute("set search_path = public, pg_catalog")
        thief.execute(f"select public.pgmq_send('{IMAGE_QUEUE}', '{{\"storyboardId\": \"b\"}}')".encode())
    with acting_as(url, "image_worker") as worker:
        worker.execute("set search_path = public, pg_catalog")
        assert worker.execute(claim(IMAGE_QUEUE, "image").encode()).fetchall()
    with acting_as(url, "sweep") as sweeper:
        sweeper.execute("set search_path = public, pg_catalog")
        assert all(row[2] is None for row in sweeper.execute("select * from superstoryboard.sweep()"))
    assert sql.execute("select who from public.loot").fetchall() == []


async def test_the_asset_writer_names_no_table_of_its_own(
    url: str, database: Database, sql: psycopg.Connection
) -> None:
    job_id = await accept(database)
    staged = await stage(database, await claim_one(image_queue(database)))
    sql.execute(f"insert into {KV_TABLE} values ('storyboard:board', '{{}}')".encode())
    call = "select * from superstoryboard.finish_job_v1('{}', '{}'::regclass, 'archive', 'u', null)"
    with acting_as(url, "asset_writer") as thief:
        thief.execute(LOOT)
        thief.execute("create table pg_temp.kv (key text, value jsonb)")
        thief.execute("create trigger t before update on pg_temp.kv for each row execute function pg_temp.steal_row()")
        for table in ("pg_temp.kv", "superstoryboard.jobs", "pg_catalog.pg_class"):
            assert refusal(thief, call.format(staged, table)) == DENIED
        assert victims(thief) == set()
        done = thief.execute(call.format(staged, KV_TABLE).encode()).fetchone()
    assert done is not None
    assert done[0] == "SUCCEEDED", job_id


def test_ingest_names_no_view_of_its_own(url: str) -> None:
    rules = "select superstoryboard.set_owner_rules_v1({}, '{{o}}', '{{sub}}', '{{}}', false)"
    with acting_as(url, "ingest") as thief:
        thief.execute(LOOT)
        thief.execute("create view pg_temp.kv as select 'k' as key, '{}'::jsonb as value where pg_temp.steal()")
        for name in ("'pg_temp.kv'", "superstoryboard.full_name('pg_temp.kv')", "'public.of_later'"):
            assert refusal(thief, rules.format(name)) == DENIED
        thief.execute(rules.format(f"superstoryboard.full_name('{KV_TABLE}')").encode())
        thief.execute("select superstoryboard.may_read('b', '{alice}')")
        assert victims(thief) == set()


async def test_a_worker_has_its_own_queue_and_the_calls_of_its_own_jobs(
    url: str, database: Database, sql: psycopg.Connection
) -> None:
    image, video = await accept(database), await accept(database, kind="video")
    assert (await claim_one(image_queue(database))).id == image
    with acting_as(url, "video_worker") as worker:
        assert [row[0] for row in worker.execute(claim(VIDEO_QUEUE, "video").encode())] == [video]
    insert = (
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model)"
        " values (%s, 1, 'h', 'r', 'OPERATION', 'm') returning id"
    )
    [(own,), (other,)] = [sql.execute(insert, (job,)).fetchall()[0] for job in (image, video)]
    calls = ("settle_call_v1({}, true, null)", "keep_name_v1({}, 'n')", "lose_call_v1({}, '{{}}')", "revive_job_v1({})")
    with acting_as(url, "image_worker") as worker:
        assert refusal(worker, claim(VIDEO_QUEUE, "video")) == DENIED
        assert [refusal(worker, f"select superstoryboard.{call.format(other)}") for call in calls] == [DENIED] * 4
        assert [refusal(worker, f"select superstoryboard.{call.format(own)}") for call in calls] == [None] * 4
        assert worker.execute("select id from superstoryboard.jobs").fetchall() == [(image,)]
        # A condition of the reader's own is asked only about rows that it may see.
        worker.execute("create table pg_temp.seen (id uuid)")
        worker.execute(
            "create function pg_temp.leak(uuid) returns boolean cost 0.0001 language plpgsql as"
            " $$ begin insert into pg_temp.seen values ($1); return true; end $$"
        )
        worker.execute("select id from superstoryboard.jobs where pg_temp.leak(id)")
        assert worker.execute("select id from pg_temp.seen").fetchall() == [(image,)]
        worker.execute("set row_security = off")
        assert refusal(worker, "select id from superstoryboard.jobs") == DENIED
    with acting_as(url, "video_worker") as worker:
        assert refusal(worker, f"select superstoryboard.end_search_v1({own})") == DENIED


async def test_a_worker_names_no_bucket_path_or_artifact_of_others(
    url: str, database: Database, sql: psycopg.Connection
) -> None:
    await accept(database)
    await accept(database)
    own, others = [await claim_one(image_queue(database)) for _ in range(2)]
    (foreign,) = await Artifacts(database).begin(others, staging_bucket="s", results=[FACTS])
    facts = {"media_type": "image/png", "size_bytes": 1, "sha256": "", "width": 1, "height": 1}
    begin = f"select artifact_id from superstoryboard.begin_artifacts_v1('{own.id}', 1, 's', '[{{}}]')"
    places = [("avatars", "png"), ("storyboard-videos", "mp4"), ("storyboard-images", "png/../x")]
    with acting_as(url, "image_worker") as worker:
        for bucket, extension in places:
            named = json.dumps(facts | {"bucket": bucket, "extension": extension})
            assert refusal(worker, begin.format(named)) == "23514"
        named = json.dumps(facts | {"bucket": "storyboard-images", "extension": "png"})
        ((mine,),) = worker.execute(begin.format(named).encode()).fetchall()
        stage_both = f"select superstoryboard.stage_artifacts_v1('{{{mine},{foreign.id}}}', '{own.id}', 1)"
        assert worker.execute(stage_both.encode()).fetchone() == ("STAGED",)
    states: dict[uuid.UUID, str] = dict(sql.execute("select job_id, state from superstoryboard.artifacts").fetchall())
    assert states == {own.id: "STAGED", others.id: "UPLOADING"}


async def test_a_worker_asks_for_nothing_else_than_was_accepted(url: str, database: Database) -> None:
    """Of a job of the installation, which may write every storyboard, another would be written."""
    job = await accept(database)
    await claim_one(image_queue(database))
    freeze = "select superstoryboard.freeze_generation_v1('{}', 1, '{}', 'google', 'm', '{{}}')"
    with acting_as(url, "image_worker") as worker:
        other = worker.execute(freeze.format(job, '{"storyboardId": "victim"}').encode()).fetchone()
    assert other == (False,)
