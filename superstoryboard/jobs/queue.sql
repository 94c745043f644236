-- name: claim_jobs
select * from superstoryboard.claim_jobs_v1(
  %(queue)s, %(kinds)s::text[], %(worker)s, %(quantity)s::int, %(lease)s::int, %(force)s, %(provider)s, %(gate_model)s,
  row(%(per_minute)s, %(per_day)s, %(running)s)::superstoryboard.gate_limits, %(held)s::uuid[]
);

-- name: model_of_job
select model from superstoryboard.jobs where id = %(job)s;

-- name: close_gate
select superstoryboard.close_gate_v1(%(provider)s, %(model)s, %(seconds)s::float8, %(reason)s);

-- name: extend_leases
select extend_leases_v1 as id from superstoryboard.extend_leases_v1(
  %(queue)s, %(jobs)s::uuid[], %(claims)s::bigint[], %(lease)s::int
);

-- name: holds_lease
select superstoryboard.holds_lease_v1(%(job)s, %(claim)s, %(seconds)s::int) as held;

-- name: release_job
select superstoryboard.release_job_v1(%(job)s, %(claim)s, %(delay)s::int, %(message)s) as done;

-- name: retry_job
select superstoryboard.retry_job_v1(%(job)s, %(claim)s, %(delay)s::int, %(error)s, %(spend)s) as state;

-- name: fail_job
select superstoryboard.fail_job_v1(%(job)s, %(claim)s, %(state)s, %(error)s) as state;

-- name: freeze_generation
select superstoryboard.freeze_generation_v1(
  %(job)s, %(claim)s, %(generation)s, %(provider)s, %(model)s, %(warnings)s::text[]
) as done;

-- name: report_progress
select superstoryboard.report_progress_v1(%(job)s, %(claim)s, %(percent)s::int, %(message)s) as percent;

-- name: may_use_source
select superstoryboard.job_may_use_source_v1(%(job)s, %(storyboard)s) as allowed;
