-- name: open_call
select * from superstoryboard.open_call_v1(
  %(job)s, %(claim)s, %(route)s, %(shape)s, %(provider)s, %(model)s, %(hash)s, %(lease)s::int,
  row(%(per_minute)s, %(per_day)s, %(running)s)::superstoryboard.gate_limits, %(staging_bucket)s
);

-- name: keep_name
select superstoryboard.keep_name_v1(%(id)s::bigint, %(name)s) as kept;

-- name: lose_call
select superstoryboard.lose_call_v1(%(id)s::bigint, %(error)s);

-- name: settle_call
select superstoryboard.settle_call_v1(%(id)s::bigint, %(paid)s, %(error)s::jsonb) as late;

-- name: revive_job
select superstoryboard.revive_job_v1(%(id)s::bigint);
