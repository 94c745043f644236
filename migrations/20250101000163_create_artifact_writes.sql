-- The asset_writer's side: artifacts that it leases, writes, gives back or removes.

create type superstoryboard.claimed_artifact as (
  id uuid, job_id uuid, kind text, staging_bucket text, staging_key text, bucket text, path text, media_type text,
  size_bytes bigint, sha256 text, write_attempt integer, refusals integer, doubts integer, doubted_seconds double precision,
  uploaded boolean, traceparent text
);

-- Leases staged artifacts to an asset_writer: the one that a delivery names, or those staged for at least p_min_age_seconds,
-- in the order in which they became due, so that those which are put off again and again stop no other.
create function superstoryboard.claim_artifacts_v1(
  p_artifact uuid, p_quantity integer, p_lease_seconds integer, p_min_age_seconds double precision
) returns setof superstoryboard.claimed_artifact
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  claimed uuid[];
begin
  if p_artifact is not null then
    claimed := array(
      select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
      where a.id = p_artifact and a.state = 'STAGED' and j.state = 'STAGED' and coalesce(a.lease_until, a.staged_at) <= now()
      for update of a skip locked);
  else
    claimed := array(
      select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
      where a.state = 'STAGED' and j.state = 'STAGED' and coalesce(a.lease_until, a.staged_at) <= now()
        and a.staged_at <= now() - make_interval(secs => p_min_age_seconds)
      order by coalesce(a.lease_until, a.staged_at) limit p_quantity for update of a skip locked);
  end if;
  return query
    update superstoryboard.artifacts a
    set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds), write_attempt = a.write_attempt + 1
    from superstoryboard.jobs j
    where a.id = any (claimed) and j.id = a.job_id
    returning a.id, a.job_id, j.kind, a.staging_bucket, a.staging_key, a.bucket, a.path, a.media_type, a.size_bytes, a.sha256,
      a.write_attempt, a.refusals, a.doubts, extract(epoch from clock_timestamp() - a.doubted_at)::double precision,
      a.uploaded_at is not null, j.traceparent;
end
$$;

-- Keeps the lease of an artifact that is being written.
create function superstoryboard.extend_artifact_v1(p_artifact uuid, p_lease_seconds double precision) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with kept as (
    update superstoryboard.artifacts set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
    where id = p_artifact and state = 'STAGED' and lease_until < 'infinity'
    returning id
  )
  select exists (select from kept);
$$;

-- Locks the job of a staged artifact, which is cancelled where somebody removed its message. Who gets another state than STAGED
-- came too late.
create function superstoryboard.lock_staged(p_artifact uuid) returns superstoryboard.jobs
language plpgsql as $$
declare
  locked record;
  job superstoryboard.jobs;
begin
  select l.* into locked from superstoryboard.artifacts a, superstoryboard.lock_job(a.job_id) l where a.id = p_artifact;
  job := locked.job;
  if job.state = 'STAGED' and not locked.message_found then
    perform superstoryboard.cancel_removed(job);
    job.state := 'CANCELLED';
  end if;
  return job;
end
$$;

-- The staged bytes are gone or wrong. Of several results this one is given up, see end_writes; where nothing of the job is left, it
-- goes back. An operation is polled and its result downloaded again unpaid; what came in an answer is called for again, and the
-- ledger says that its first call was let go.
create function superstoryboard.return_artifact_v1(p_artifact uuid, p_error jsonb, p_kv regclass, p_completion text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_staged(p_artifact);
begin
  if job.state is distinct from 'STAGED' then
    return job.state;
  end if;
  perform superstoryboard.lock_calls(job.id);
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp()
  where id = p_artifact and state = 'STAGED';
  if not found then
    return job.state;
  elsif superstoryboard.has_results(job.id) then
    return (superstoryboard.end_writes(job, p_error, p_kv, p_completion)).state;
  end if;
  update superstoryboard.provider_calls set state = 'ACCEPTED', settled_at = null
  where id = (select max(id) from superstoryboard.provider_calls where job_id = job.id and operation_name is not null and paid);
  update superstoryboard.provider_calls set waived_by = 'asset_writer'
  where job_id = job.id and shape = 'ANSWER' and state = 'SETTLED' and paid and waived_by is null;
  update superstoryboard.jobs set state = 'RETRYING', error = p_error, worker = null where id = job.id returning * into job;
  perform superstoryboard.set_due(job, 0);
  perform superstoryboard.emit_event(job, p_error ->> 'message');
  return job.state;
end
$$;

-- True where a result of a job is stored, or staged.
create function superstoryboard.has_results(p_job uuid) returns boolean
language sql stable as $$
  select exists (select from superstoryboard.assets where job_id = p_job)
    or exists (select from superstoryboard.artifacts where job_id = p_job and state = 'STAGED');
$$;

-- A permanent write error: the artifact is set aside, and where no other result of the job is stored or may be, the job is buried
-- with it, so that a redrive writes it without paying. Without p_kv (which end_writes needs) the job is buried in any case.
create function superstoryboard.bury_artifact_v1(p_artifact uuid, p_error jsonb, p_kv regclass, p_completion text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_staged(p_artifact);
begin
  if job.state is distinct from 'STAGED' then
    return job.state;
  end if;
  update superstoryboard.artifacts set lease_until = 'infinity', refusals = 0, doubts = 0, doubted_at = null
  where job_id = job.id and state = 'STAGED' and (id = p_artifact or p_kv is null);
  return (superstoryboard.end_writes(job, p_error, p_kv, p_completion)).state;
end
$$;

-- A write that did not end: the artifact waits, and the job shows why. A refusal (p_kind REFUSED) and a doubt of the staged bytes
-- (DOUBT) are counted in a row; whatever else stood in the way (WAIT) counts for nothing and ends a row of doubts. Rows that others
-- hold are passed over: the lease of the artifact ends by itself.
create function superstoryboard.postpone_artifact_v1(
  p_artifact uuid, p_kind text, p_delay_seconds double precision, p_uploaded boolean, p_error jsonb
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs;
begin
  select j.* into job from superstoryboard.jobs j
  where j.id = (select a.job_id from superstoryboard.artifacts a where a.id = p_artifact) for update skip locked;
  update superstoryboard.artifacts a
  set lease_until = clock_timestamp() + make_interval(secs => p_delay_seconds),
      refusals = refusals + (p_kind = 'REFUSED')::integer,
      doubts = case p_kind when 'DOUBT' then doubts + 1 else 0 end,
      doubted_at = case p_kind when 'DOUBT' then coalesce(doubted_at, clock_timestamp()) end,
      uploaded_at = case when p_uploaded then coalesce(uploaded_at, clock_timestamp()) end
  where a.id = (select id from superstoryboard.artifacts where id = p_artifact and state = 'STAGED' for update skip locked);
  if job.state = 'STAGED' and job.error is distinct from p_error then
    update superstoryboard.jobs set error = p_error where id = job.id returning * into job;
    perform superstoryboard.emit_event(job, p_error ->> 'message');
  end if;
end
$$;

-- Artifacts whose objects are to be removed: what was discarded, from staging and from its final place, and what was written,
-- from staging. Only those that nobody can be uploading any more. Each is leased for a while to the asset_writer that asks.
create function superstoryboard.claim_cleanups_v1(p_older_than_seconds double precision, p_limit integer)
returns table (id uuid, state text, staging_bucket text, staging_key text, bucket text, path text)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with due as (
    select a.id from superstoryboard.artifacts a
    where a.cleaned_at is null and a.state in ('DISCARDED', 'WRITTEN')
      and a.ended_at < now() - make_interval(secs => p_older_than_seconds)
      and (a.lease_until is null or a.lease_until <= now())
    order by a.ended_at limit p_limit for update skip locked
  )
  update superstoryboard.artifacts a set lease_until = clock_timestamp() + interval '5 minutes'
  from due where a.id = due.id
  -- Of bytes that never came the final path is not known: there is only their place in staging.
  returning a.id, a.state, a.staging_bucket, a.staging_key,
    coalesce(a.bucket, a.staging_bucket), coalesce(a.path, a.staging_key);
$$;

-- The objects of these artifacts are gone.
create function superstoryboard.end_cleanups_v1(p_artifacts uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update superstoryboard.artifacts set cleaned_at = clock_timestamp(), lease_until = null where id = any (p_artifacts);
$$;
