-- name: begin_artifacts
select * from superstoryboard.begin_artifacts_v1(%(job)s, %(claim)s, %(staging_bucket)s, %(results)s);

-- name: stage_artifacts
select superstoryboard.stage_artifacts_v1(%(artifacts)s, %(job)s, %(claim)s) as state;

-- name: miss_artifact
select superstoryboard.miss_artifact_v1(
  %(artifact)s, %(job)s, %(claim)s, %(patience)s::float8, %(error)s
) as seconds;

-- name: claim_artifacts
select * from superstoryboard.claim_artifacts_v1(
  %(artifact)s::uuid, %(quantity)s::int, %(lease)s::int, %(age)s::float8
);

-- name: extend_artifact
select superstoryboard.extend_artifact_v1(%(artifact)s, %(lease)s::float8) as kept;

-- name: return_artifact
select superstoryboard.return_artifact_v1(%(artifact)s, %(error)s, %(kv)s::regclass, %(completion)s) as state;

-- name: bury_artifact
select superstoryboard.bury_artifact_v1(%(artifact)s, %(error)s, %(kv)s::regclass, %(completion)s) as state;

-- name: postpone_artifact
select superstoryboard.postpone_artifact_v1(%(artifact)s, %(kind)s, %(delay)s::float8, %(uploaded)s, %(error)s);

-- name: note_job_error
select superstoryboard.note_job_error_v1(%(job)s, %(claim)s::bigint, %(error)s) as noted;

-- name: finish_job
select * from superstoryboard.finish_job_v1(
  %(artifact)s, %(kv)s::regclass, %(completion)s, %(url)s, %(expires)s::timestamptz
);
