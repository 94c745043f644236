-- What a worker says of an attempt: released, tried again later, failed, its progress.

-- True where an operation of a job runs at the provider or is looked for there.
create function superstoryboard.has_operation(p_job uuid) returns boolean
language sql stable as $$
  select exists (
    select from superstoryboard.provider_calls
    where job_id = p_job and (state = 'ACCEPTED' or state = 'INTENT' and search_until is not null)
  );
$$;

-- What a claim that ends without spending returns: its attempt, unless an operation was accepted, whose attempt goes on.
create function superstoryboard.attempt_to_give_back(p_job superstoryboard.jobs) returns integer
language sql stable as $$
  select (p_job.claim_spent_attempt and not superstoryboard.has_operation(p_job.id))::integer;
$$;

-- Locks a job for who holds it by a claim: null for a stale claim, and where the job is in none of these states. A running one
-- whose message somebody removed is cancelled, and comes back so.
create function superstoryboard.lock_claimed(p_job uuid, p_claim bigint, p_states text[]) returns superstoryboard.jobs
language plpgsql as $$
declare
  locked record;
  job superstoryboard.jobs;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  if job.id is null or job.claim <> p_claim or job.state <> all (p_states) then
    return null;
  elsif job.state = 'RUNNING' and not locked.message_found then
    perform superstoryboard.cancel_removed(job);
    job.state := 'CANCELLED';
  end if;
  return job;
end
$$;

-- Gives a job back without spending the attempt of its claim.
create function superstoryboard.release_job_v1(p_job uuid, p_claim bigint, p_delay_seconds integer, p_message text)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_claimed(p_job, p_claim, array['RUNNING', 'QUEUED']);
begin
  if job.state is distinct from 'RUNNING' then
    return coalesce(job.state = 'QUEUED', false);
  end if;
  update superstoryboard.jobs j
  set state = 'QUEUED', attempt = attempt - superstoryboard.attempt_to_give_back(j), claim_spent_attempt = false, worker = null,
      orderly_claim = claim, lost_claims = 0
  where id = job.id
  returning * into job;
  perform superstoryboard.set_due(job, p_delay_seconds);
  perform superstoryboard.emit_event(job, p_message);
  return true;
end
$$;

-- True where a claim makes no call but brings home what is or may be paid: its operation runs or is looked for, or its answer may be
-- in staging.
create function superstoryboard.has_paid_work(p_job superstoryboard.jobs) returns boolean
language sql stable as $$
  select superstoryboard.has_operation(p_job.id) or exists (
    select from superstoryboard.artifacts where job_id = p_job.id and state = 'UPLOADING' and call_id is not null
  );
$$;

-- Ends an attempt with an error: the message comes back after the delay. Where the attempt is spent (p_spend) and it was
-- the last, the job is buried, save where there is paid work to bring home: that waits, however often a worker fails at it, to the
-- maximum age. Returns the job's state, or null for a stale claim.
create function superstoryboard.retry_job_v1(p_job uuid, p_claim bigint, p_delay_seconds integer, p_error jsonb, p_spend boolean)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_claimed(p_job, p_claim, array['RUNNING', 'RETRYING', 'DEAD_LETTERED']);
begin
  if job.state is distinct from 'RUNNING' then
    return job.state;
  elsif p_spend and job.attempt >= job.max_attempts and not superstoryboard.has_paid_work(job) then
    perform superstoryboard.end_job(job, 'DEAD_LETTERED', p_error, null, format('Dead letter after %s attempts: %s', job.attempt, p_error ->> 'message'));
    return 'DEAD_LETTERED';
  end if;
  update superstoryboard.jobs j
  set state = 'RETRYING', error = p_error, worker = null,
      attempt = attempt - case when p_spend then 0 else superstoryboard.attempt_to_give_back(j) end, claim_spent_attempt = false,
      orderly_claim = case when p_spend then orderly_claim else claim end, lost_claims = 0
  where id = job.id
  returning * into job;
  perform superstoryboard.set_due(job, p_delay_seconds);
  perform superstoryboard.emit_event(job, format('Retrying in %s s: %s', p_delay_seconds, p_error ->> 'message'));
  return job.state;
end
$$;

-- Ends a running job as FAILED or DEAD_LETTERED. Returns the job's state, or null for a stale claim.
create function superstoryboard.fail_job_v1(p_job uuid, p_claim bigint, p_state text, p_error jsonb) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_claimed(p_job, p_claim, array['RUNNING', p_state]);
begin
  if job.state is distinct from 'RUNNING' then
    return job.state;
  end if;
  perform superstoryboard.end_job(job, p_state, p_error, null, p_error ->> 'message');
  return p_state;
end
$$;

-- Reports progress of a running job, which never falls. Returns the percentage that the job has now; null for a stale claim,
-- which changes nothing.
create function superstoryboard.report_progress_v1(p_job uuid, p_claim bigint, p_percent integer, p_message text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.jobs set progress_percent = greatest(progress_percent, p_percent)
  where id = p_job and claim = p_claim and state = 'RUNNING'
  returning * into job;
  if job.id is null then
    return null;
  end if;
  perform superstoryboard.emit_event(job, p_message);
  return job.progress_percent;
end
$$;

-- Shows in a job what it waits for, without ending its attempt: Storage refuses until somebody mends the set-up. Fenced by the
-- claim where one is given. The same error is told once.
create function superstoryboard.note_job_error_v1(p_job uuid, p_claim bigint, p_error jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.jobs j set error = p_error
  where j.id = p_job and j.state in ('RUNNING', 'STAGED') and j.claim = coalesce(p_claim, j.claim)
    and j.error is distinct from p_error
  returning * into job;
  if job.id is null then
    return false;
  end if;
  perform superstoryboard.emit_event(job, p_error ->> 'message');
  return true;
end
$$;
