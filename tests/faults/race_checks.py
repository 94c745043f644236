"""The history of a race, kept by triggers in `race.log`, and what must hold in the end."""

from __future__ import annotations

from typing import LiteralString

from tests.faults.race_hands import BOARD, BY_HAND
from tests.integration.helpers import KV

PREPARE: LiteralString = f"""
create schema race;
create table race.log (
  sequence bigint generated always as identity primary key, source text, job_id uuid, id text, was text, state text,
  old jsonb, new jsonb, job_claim bigint, by_hand boolean
);
create index on race.log (job_id, source, sequence);
create function race.note() returns trigger language plpgsql as $$
declare
  old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  some_row jsonb := coalesce(new_row, old_row);
  job uuid := (some_row ->> case tg_argv[0] when 'job' then 'id' else 'job_id' end)::uuid;
begin
  insert into race.log (source, job_id, id, was, state, old, new, job_claim, by_hand)
  values (tg_argv[0], job, some_row ->> tg_argv[1], old_row ->> 'state', new_row ->> 'state', old_row, new_row,
    (select claim from superstoryboard.jobs j where j.id = job),
    current_setting('application_name') = 'superstoryboard-{BY_HAND}');
  return null;
end
$$;
create trigger race after insert or update on superstoryboard.jobs
  for each row execute function race.note('job', 'id');
create trigger race after insert or update on superstoryboard.provider_calls
  for each row execute function race.note('call', 'id');
create trigger race after insert or update on superstoryboard.artifacts
  for each row execute function race.note('artifact', 'id');
create trigger race after update on {KV}
  for each row execute function race.note('kv', 'key');
create trigger race after insert or delete on pgmq.q_image_generation_queue
  for each row execute function race.note('image_generation_queue', 'msg_id');
create trigger race after insert or delete on pgmq.q_video_generation_queue
  for each row execute function race.note('video_generation_queue', 'msg_id');
do $$
begin
  execute format('alter database %I set deadlock_timeout = 20', current_database());
end
$$;
"""
"""Keeps the history, and finds deadlocks at once."""

MOVES: LiteralString = """
select concat_ws(' ', source, was || ' ->', state) as move, count(*) from race.log
where source in ('job', 'call', 'artifact') and was is distinct from state group by 1 order by 1
"""

CHECKS: dict[str, LiteralString] = {
    "every job ends": """
        select id, state from superstoryboard.jobs
        where state not in ('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED')
    """,
    "no message stays": """
        select 'image' as kind, msg_id from pgmq.q_image_generation_queue
        union all select 'video', msg_id from pgmq.q_video_generation_queue
    """,
    "no turn stays": """
        select job, queue, due_at, lease_until from superstoryboard.turns
    """,
    "every message is one job's, taken out once and archived once, or removed by hand": """
        with archived as (
          select 'image_generation_queue' as source, msg_id::text as id from pgmq.a_image_generation_queue
          union all select 'video_generation_queue', msg_id::text from pgmq.a_video_generation_queue
        ), owners as (
          select new ->> 'queue' as source, new ->> 'msg_id' as id, count(distinct job_id) as jobs
          from race.log where source = 'job' group by 1, 2
        ), messages as (
          select source, id, count(old) as taken, bool_or(by_hand and old is not null) as by_hand
          from race.log where source like '%_queue' group by 1, 2
        )
        select m.*, o.jobs, count(a.id) as archived
        from messages m left join owners o using (source, id) left join archived a using (source, id)
        group by m.source, m.id, m.taken, m.by_hand, o.jobs
        having taken <> 1 or count(a.id) > 1 or o.jobs > 1 or not by_hand and (count(a.id) = 0 or o.jobs is null)
    """,
    "a message removed by hand cancels its job next": """
        with owners as (
          select distinct new ->> 'queue' as source, new ->> 'msg_id' as id, job_id from race.log where source = 'job'
        )
        select r.source, r.id, o.job_id, next.state
        from race.log r join owners o using (source, id)
        cross join lateral (
          select n.state from race.log n
          where n.source = 'job' and n.job_id = o.job_id and n.sequence > r.sequence and n.state <> n.was
          order by n.sequence limit 1
        ) next
        where r.by_hand and r.old is not null and next.state <> 'CANCELLED'
    """,
    "claims only rise, and calls and artifacts are begun under the claim of their job": """
        select source, job_id, old ->> 'claim' as was, new ->> 'claim' as now, job_claim from race.log
        where source = 'job' and (new ->> 'claim')::bigint < (old ->> 'claim')::bigint
          or source in ('call', 'artifact') and old is null and (new ->> 'claim')::bigint <> job_claim
    """,
    "attempts stay within their limit": """
        select distinct job_id, new ->> 'attempt' as attempt from race.log
        where source = 'job' and not (new ->> 'attempt')::integer between 0 and (new ->> 'max_attempts')::integer
    """,
    "calls and artifacts move as docs/STATES.md says": """
        select source, job_id, id, was, state from race.log
        where source in ('call', 'artifact') and was <> state and (was, state) not in (
          ('INTENT', 'ACCEPTED'), ('INTENT', 'SETTLED'), ('INTENT', 'UNKNOWN'), ('ACCEPTED', 'SETTLED'),
          ('SETTLED', 'ACCEPTED'), ('UNKNOWN', 'ACCEPTED'), ('UNKNOWN', 'SETTLED'),
          ('UPLOADING', 'STAGED'), ('UPLOADING', 'DISCARDED'), ('STAGED', 'WRITTEN'), ('STAGED', 'DISCARDED'))
    """,
    "no two unsettled calls": """
        select * from (
          select job_id, id, sum(
            coalesce(state in ('INTENT', 'ACCEPTED'), false)::integer
            - coalesce(was in ('INTENT', 'ACCEPTED'), false)::integer
          ) over (partition by job_id order by sequence) as unsettled
          from race.log where source = 'call'
        ) counted where unsettled > 1
    """,
    "no call follows one that was or may have been paid, unless a person said so": """
        select j.kind, c.job_id, c.id as call, e.id as earlier, e.state, e.new ->> 'paid' as paid
        from race.log c
        join superstoryboard.jobs j on j.id = c.job_id
        cross join lateral (
          select distinct on (l.id) l.* from race.log l
          where l.source = 'call' and l.job_id = c.job_id and l.sequence < c.sequence
          order by l.id, l.sequence desc
        ) e
        where c.source = 'call' and c.old is null and e.new ->> 'waived_by' is null
          and (e.state <> 'SETTLED' and j.kind = 'video' or e.state = 'SETTLED' and (e.new ->> 'paid')::boolean)
          -- Started again by a person; or an image whose staged bytes were lost.
          and not (e.state = 'SETTLED' and exists (
            select from race.log r
            where r.source = 'job' and r.job_id = c.job_id and r.sequence between e.sequence and c.sequence
              and (r.was in ('FAILED', 'DEAD_LETTERED', 'CANCELLED') and r.state = 'QUEUED'
                   or j.kind = 'image' and r.was = 'STAGED' and r.state = 'RETRYING')
          ))
    """,
    "a job that succeeded has one asset of one written artifact, and no other job has any": """
        select * from (
          select j.id, j.state, (j.state = 'SUCCEEDED')::integer as due,
            (select count(*) from superstoryboard.assets a join superstoryboard.artifacts w using (id, job_id)
             where w.job_id = j.id and w.state = 'WRITTEN') as assets,
            (select count(*) from superstoryboard.artifacts w where w.job_id = j.id and w.state = 'WRITTEN') as written,
            (select count(*) from superstoryboard.job_events e where e.job_id = j.id and e.message = 'Stored') as stored
          from superstoryboard.jobs j
        ) counted where (assets, written, stored) <> (due, due, due)
    """,
    "no artifact is left open, save what is kept for a job that may be started again": """
        select a.id, a.state, j.id as job, j.state as job_state
        from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
        where a.state = 'UPLOADING' and j.state = 'SUCCEEDED'
          or a.state = 'STAGED' and j.state not in ('DEAD_LETTERED', 'CANCELLED')
    """,
    "events tell only legal moves, and the last tells the state": """
        select * from (
          select e.job_id, e.sequence, lag(e.state, 1, 'QUEUED') over by_job as was, e.state as now, j.state,
            lead(e.state) over by_job is null as last
          from superstoryboard.job_events e join superstoryboard.jobs j on j.id = e.job_id
          window by_job as (partition by e.job_id order by e.sequence)
        ) told
        where last and now <> state
          -- A due job is run and buried in one transaction, and one whose answer arrives late is run and staged.
          or was <> now and (was || ' ' || now) not in ('QUEUED DEAD_LETTERED', 'QUEUED STAGED', 'RETRYING STAGED')
            and (was, now) not in (select from_state, to_state from superstoryboard.job_moves)
    """,
    "what an entity shows is replaced, never lost, and never comes back": """
        with items as (
          select l.sequence, l.id as key, null as item, l.new -> 'value' as value
          from race.log l where l.source = 'kv'
          union all
          select l.sequence, l.id, e.value ->> 'id', e.value
          from race.log l, jsonb_path_query(l.new, '$.value.*[*]') as e (value)
          where l.source = 'kv' and jsonb_typeof(e.value) = 'object'
        ), shown as (
          select key, item, media, value ->> media as url,
            lag(value ->> media) over (partition by key, item, media order by sequence) as was
          from items, unnest(array['imageUrl', 'videoUrl']) as media
        )
        select key, item, media, url, count(*) as times from shown
        where url is distinct from was group by 1, 2, 3, 4 having url is null or count(*) > 1
    """,
    "an entity is linked to the last job of those that succeeded, and its rows show that": f"""
        with last as (
          select distinct on (type, entity, kind) type, entity, j.kind, j.id, j.rank, a.url
          from superstoryboard.jobs j join superstoryboard.assets a on a.job_id = j.id
          cross join lateral (values ('scene', j.generation ->> 'sceneId'),
            ('character', j.generation ->> 'characterId')) e (type, entity)
          where j.state = 'SUCCEEDED' and e.entity <> ''
          order by type, entity, kind, rank desc, id desc
        ), shown as (
          select type, entity, value
          from (values ('scene', 's1'), ('scene', 's2'), ('character', 'c1')) as known (type, entity)
          join {KV} on key in (format('%s:{BOARD}:%s', type, entity), format('%s:%s', type, entity))
          union all
          select rtrim(list, 's'), item ->> 'id', item
          from {KV}, unnest(array['scenes', 'characters']) as list, jsonb_array_elements(value -> list) as item
          where key = 'storyboard:{BOARD}'
        )
        select l.type, l.entity, l.kind, l.id as last_job, k.job_id as linked, s.value
        from last l
        full join superstoryboard.entity_links k
          on (k.entity_type, k.entity_id, k.link, k.storyboard_id) = (l.type, l.entity, l.kind, '{BOARD}')
        left join shown s on (s.type, s.entity) = (l.type, l.entity)
        where l.id is distinct from k.job_id or l.rank <> k.rank
          or s.value ->> (l.kind || 'Url') is distinct from l.url
    """,
}
"""What must hold in the end; each answers the rows that break it."""
