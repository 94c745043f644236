-- name: cancel_job
select superstoryboard.cancel_job_v1(%(job)s, %(owner)s::text, %(actor)s, %(names)s::text[]) as state;

-- name: redrive_job
select superstoryboard.redrive_job_v1(
  %(job)s, %(owner)s::text, %(actor)s, %(states)s::text[], %(accept)s, null, null, null, null, %(names)s::text[],
  %(quota_scope)s
) as answer;

-- name: redrive_dead_letters
select * from superstoryboard.redrive_dead_letters_v1(
  %(jobs)s::uuid[], %(actor)s, %(accept)s, %(generation)s::jsonb, %(provider)s::text, %(model)s::text, %(warnings)s::text[]
);

-- name: discard_dead_letters
select * from superstoryboard.discard_dead_letters_v1(%(jobs)s::uuid[], %(actor)s);

-- name: pause_queue
select superstoryboard.pause_queue_v1(%(queue)s, %(paused)s, %(actor)s) as found;

-- name: dead_letters
select * from superstoryboard.dead_letters
where (%(queue)s = '' or queue = %(queue)s)
  and (%(jobs)s::uuid[] = '{}' or id = any (%(jobs)s::uuid[]))
  and (%(last_time)s::timestamptz is null or (created_at, id) < (%(last_time)s, %(last_id)s::uuid))
order by created_at desc, id desc
limit %(limit)s;
