-- The hand-off: a worker stages an artifact, for the asset_writer to write it and to finish the job.

-- The rule for the path of an asset (SPEC A6): storyboard, then scene, else character, else job, then milliseconds. What belongs to
-- no storyboard lies under the name of its kind.
create function superstoryboard.asset_path(p_job superstoryboard.jobs, p_milliseconds bigint, p_extension text) returns text
language sql immutable as $$
  select format('%s/%s_%s.%s',
    coalesce(nullif(p_job.generation ->> 'storyboardId', ''), p_job.kind),
    coalesce(nullif(p_job.generation ->> 'sceneId', ''), nullif(p_job.generation ->> 'characterId', ''), p_job.id::text),
    p_milliseconds, p_extension);
$$;

-- What the results of a job are and where each goes, in their order. The bytes of a call have had their row and their place in
-- staging since the intent; they may be there already, and who made the call or holds the job now tells of them. Others get their
-- rows here, before their bytes go up. No rows for a stale claim, and for an answer whose bytes were given up.
create function superstoryboard.begin_artifacts_v1(p_job uuid, p_claim bigint, p_staging_bucket text, p_results jsonb)
returns table (artifact_id uuid, staging_key text, path text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  locked record;
  job superstoryboard.jobs;
  begun uuid[];
  results integer := jsonb_array_length(p_results);
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  perform superstoryboard.lock_calls(p_job);
  begun := array(
    select id from superstoryboard.artifacts
    where job_id = p_job and state = 'UPLOADING' and call_id is not null and p_claim in (claim, job.claim) order by index for update);
  if begun = '{}' then
    perform superstoryboard.settle_late_answers(p_job, p_claim);
    if job.claim is distinct from p_claim or job.state <> 'RUNNING' or not locked.message_found then
      return;
    end if;
    perform superstoryboard.give_up_uploads(p_job);
    for result in 0 .. results - 1 loop
      begun := begun || (superstoryboard.open_upload(p_job, p_claim, null, p_staging_bucket, result)).artifact;
    end loop;
  end if;
  if results <> cardinality(begun) or results not between 1 and (
    select max_results from superstoryboard.job_kinds where name = job.kind
  ) then
    raise exception 'job % of kind % cannot have % results', p_job, job.kind, results using errcode = 'check_violation';
  end if;
  return query
    select placed.* from jsonb_array_elements(p_results) with ordinality as result (facts, place),
      superstoryboard.place_artifact(job, begun[result.place], result.facts) placed order by result.place;
end
$$;

-- Says what an artifact is, and gives it a final path whose timestamp is raised until the path is free. The bucket is that of the
-- kind, or of the media: whoever stages an artifact does not choose among all that the asset_writer may write.
create function superstoryboard.place_artifact(
  p_job superstoryboard.jobs, p_artifact uuid, p_facts jsonb, out artifact_id uuid, out staging_key text, out path text
)
language plpgsql as $$
#variable_conflict use_column
declare
  stamp bigint := floor(extract(epoch from clock_timestamp()) * 1000);
begin
  if not superstoryboard.is_place(p_job.kind, p_facts ->> 'bucket', p_facts ->> 'extension') then
    raise exception 'results of kind % do not go to the bucket %, or not as %', p_job.kind, p_facts ->> 'bucket', p_facts ->> 'extension'
      using errcode = 'check_violation';
  end if;
  loop
    begin
      update superstoryboard.artifacts a
      set bucket = p_facts ->> 'bucket', path = superstoryboard.asset_path(p_job, stamp, p_facts ->> 'extension'),
          media_type = p_facts ->> 'media_type', size_bytes = (p_facts ->> 'size_bytes')::bigint, sha256 = p_facts ->> 'sha256',
          width = (p_facts ->> 'width')::integer, height = (p_facts ->> 'height')::integer,
          duration_ms = (p_facts ->> 'duration_ms')::integer
      where a.id = p_artifact
      returning a.id, a.staging_key, a.path into artifact_id, staging_key, path;
      return;
    exception when unique_violation then
      stamp := stamp + 1;
    end;
  end loop;
end
$$;

-- True for a bucket where results of a kind go, and an extension that is no more than that.
create function superstoryboard.is_place(p_kind text, p_bucket text, p_extension text) returns boolean
language sql stable as $$
  select p_extension ~ '^[a-z0-9]{1,8}$' and exists (
    select from superstoryboard.job_kinds own join superstoryboard.job_kinds k on own.bucket is null or k.name = own.name
    where own.name = p_kind and k.bucket = p_bucket);
$$;

-- The bytes of all results are in staging: artifacts and job become STAGED, the call is settled as paid, the message sleeps. Returns
-- the job's state, or null for a stale claim. Fenced by an unchanged claim; a lease that ran out does not matter. The answer of a
-- call is handed over under the claim that made it as long as no later call was opened: who claimed the job meanwhile is fenced out,
-- a dead letter goes on, and of a cancelled job it is kept for the case that it is started again.
create function superstoryboard.stage_artifacts_v1(p_artifacts uuid[], p_job uuid, p_claim bigint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  locked record;
  job superstoryboard.jobs;
  made superstoryboard.artifacts;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  perform superstoryboard.lock_calls(p_job);
  -- They change state together until they are staged: the first speaks for all.
  select * into made from superstoryboard.artifacts where id = p_artifacts[1] and job_id = p_job for update;
  if made.id is null or p_claim <> job.claim and (made.claim <> p_claim or made.call_id is null) then
    return null;
  elsif superstoryboard.was_staged(p_artifacts) then
    return job.state;
  elsif made.state = 'DISCARDED' or made.path is null or job.state in ('FAILED', 'SUCCEEDED', 'STAGED')
     or made.call_id is null and job.state <> 'RUNNING' then
    perform superstoryboard.settle_late_answer(made);
    return null;
  end if;
  update superstoryboard.artifacts set state = 'STAGED', staged_at = clock_timestamp()
  where id = any (p_artifacts) and job_id = p_job and claim = made.claim and state = 'UPLOADING';
  update superstoryboard.provider_calls
  set state = 'SETTLED', paid = true, settled_at = coalesce(settled_at, clock_timestamp())
  where job_id = p_job and (id = made.call_id or state in ('INTENT', 'ACCEPTED'));
  if job.state = 'CANCELLED' then
    return job.state;
  elsif job.state <> 'DEAD_LETTERED' and not locked.message_found then
    perform superstoryboard.cancel_removed(job);
    return 'CANCELLED';
  end if;
  perform superstoryboard.become_staged(job, job.claim + (job.claim <> p_claim)::integer);
  return 'STAGED';
end
$$;

-- True where these artifacts were staged by an earlier call of the same step; some may be written by now, or given up since.
create function superstoryboard.was_staged(p_artifacts uuid[]) returns boolean
language sql stable as $$
  select exists (select from superstoryboard.artifacts where id = any (p_artifacts) and state in ('STAGED', 'WRITTEN'));
$$;

-- Moves a locked job to STAGED under a claim; a dead letter gets a new message and keeps its rank. Objects that an earlier hand-off
-- stored, of which not all could be, are no results of the job any more.
create function superstoryboard.become_staged(p_job superstoryboard.jobs, p_claim bigint) returns void
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.assets set job_id = null where job_id = p_job.id;
  update superstoryboard.jobs set state = 'RUNNING' where id = p_job.id and state in ('QUEUED', 'RETRYING');
  update superstoryboard.jobs
  set state = 'STAGED', claim = p_claim, progress_percent = 90,
      error = case when p_job.state = 'RUNNING' then error end, ended_at = null
  where id = p_job.id returning * into job;
  if p_job.state = 'DEAD_LETTERED' then
    perform superstoryboard.enqueue_job(job, 86400, 'Resumed: the result of the call arrived late');
    update superstoryboard.jobs set rank = p_job.rank where id = job.id;
  else
    perform superstoryboard.hide_job(job);
    perform superstoryboard.emit_event(job, 'Generated; storing the asset');
  end if;
  perform pg_notify('superstoryboard_artifacts', '');
end
$$;

-- The answer of a call came when its bytes were given up: the ledger is told that it was paid, and who let it go where another
-- call followed.
create function superstoryboard.settle_late_answer(p_made superstoryboard.artifacts) returns void
language sql as $$
  update superstoryboard.provider_calls c
  set state = 'SETTLED', paid = true, settled_at = clock_timestamp(),
      waived_by = coalesce(c.waived_by, (select 'a later call' from superstoryboard.provider_calls n
        where n.job_id = c.job_id and n.id > c.id limit 1))
  where c.id = p_made.call_id and c.state in ('INTENT', 'UNKNOWN');
$$;

-- The same for all that a claim was to upload.
create function superstoryboard.settle_late_answers(p_job uuid, p_claim bigint) returns void
language plpgsql as $$
begin
  perform superstoryboard.settle_late_answer(a) from superstoryboard.artifacts a
  where a.job_id = p_job and a.claim = p_claim and a.call_id is not null and a.state = 'DISCARDED';
end
$$;

-- Storage itself says that the bytes of an earlier call are not in staging, or not what they should be. That is believed when it
-- is said again after p_patience_seconds: then the bytes are given up, their call is of unknown outcome unless it was settled, and
-- the next claim spends an attempt. Returns the seconds after which to look again, 0 where they were given up, or null for a stale claim.
create function superstoryboard.miss_artifact_v1(
  p_artifact uuid, p_job uuid, p_claim bigint, p_patience_seconds double precision, p_error jsonb
) returns double precision
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  locked record;
  missed superstoryboard.artifacts;
  waited double precision;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  if (locked.job).claim is distinct from p_claim or (locked.job).state <> 'RUNNING' then
    return null;
  end if;
  perform superstoryboard.lock_calls(p_job);
  update superstoryboard.artifacts set missing_since = coalesce(missing_since, clock_timestamp())
  where id = p_artifact and job_id = p_job and state = 'UPLOADING'
  returning * into missed;
  waited := extract(epoch from clock_timestamp() - missed.missing_since);
  if waited < p_patience_seconds then
    return p_patience_seconds - waited;
  end if;
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp() where id = missed.id;
  update superstoryboard.provider_calls set state = 'UNKNOWN', error = p_error
  where id = missed.call_id and state = 'INTENT';
  return 0;
end
$$;
