-- name: accept_jobs
select outcome, refusal, (job).* from superstoryboard.accept_jobs_v1(%(items)s) order by item_index;

-- name: jobs_by_id
select r.*
from unnest(%(ids)s::uuid[]) with ordinality as asked (id, place)
join superstoryboard.job_records r on r.id = asked.id
where %(owner)s::text is null or r.owner = %(owner)s or superstoryboard.may_read(r.storyboard_id, %(names)s::text[])
order by asked.place;

-- name: visible_ids
select id from superstoryboard.jobs
where id = any (%(ids)s::uuid[])
  and (%(owner)s::text is null or owner = %(owner)s or superstoryboard.may_read(storyboard_id, %(names)s::text[]));

-- name: readable_storyboards
select asked.id
from (
  select %(storyboard)s as id
  union
  select storyboard_id from superstoryboard.jobs where id = any (%(ids)s::uuid[])
) asked
where asked.id <> '' and superstoryboard.may_read(asked.id, %(names)s::text[]);

-- name: search_jobs
select * from superstoryboard.job_records
where (%(owner)s::text is null or owner = %(owner)s
    or %(storyboard_id)s <> '' and (select superstoryboard.may_read(%(storyboard_id)s, %(names)s::text[])))
  and (%(storyboard_id)s = '' or storyboard_id = %(storyboard_id)s)
  and (%(scene_id)s = '' or scene_id = %(scene_id)s)
  and (%(character_id)s = '' or character_id = %(character_id)s)
  and (%(states)s::text[] = '{}' or state = any (%(states)s::text[]))
  and (%(kind)s = '' or kind = %(kind)s)
  and (%(created_from)s::timestamptz is null or created_at >= %(created_from)s)
  and (%(created_before)s::timestamptz is null or created_at < %(created_before)s)
  and (%(last_time)s::timestamptz is null or (created_at, id) < (%(last_time)s, %(last_id)s::uuid))
order by created_at desc, id desc
limit %(limit)s;

-- name: queue_status
select * from superstoryboard.queue_status_v1();

-- name: closed_gates
select provider, model, least(closed_until, timestamptz '9999-12-31 00:00:00+00') as closed_until, reason
from superstoryboard.gates
where closed_until > clock_timestamp();
