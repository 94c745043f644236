-- The ledger of provider calls: what was sent, what was accepted, what was paid.

-- Records the intent to call. Answers the row id, or null where the claim is stale, the lease is short, or an earlier call was
-- paid, or of a video perhaps paid, and nobody waived it. An image whose earlier call was never answered is repeated, and that
-- call stays UNKNOWN.
create function superstoryboard.intend_call_v1(
  p_job uuid, p_claim bigint, p_route text, p_model text, p_call_hash text, p_lease_seconds integer
) returns bigint
language plpgsql as $$
declare
  locked record;
  call_id bigint;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  if (locked.job).claim is distinct from p_claim or (locked.job).state <> 'RUNNING' or not locked.message_found
     or not superstoryboard.holds_lease_v1(p_job, p_claim, p_lease_seconds) then
    return null;
  end if;
  select id into call_id from superstoryboard.provider_calls
  where job_id = p_job and claim = p_claim and state = 'INTENT' and call_hash = p_call_hash;
  if call_id is not null then
    return call_id;
  end if;
  if exists (
    select from superstoryboard.provider_calls where job_id = p_job and waived_by is null
      and (state = 'SETTLED' and paid or state <> 'SETTLED' and (locked.job).kind = 'video')
  ) then
    return null;
  end if;
  update superstoryboard.provider_calls set state = 'UNKNOWN' where job_id = p_job and state = 'INTENT';
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp()
  where job_id = p_job and state = 'UPLOADING';
  insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, model)
  values (p_job, p_claim, p_call_hash, p_route, p_model)
  returning id into call_id;
  return call_id;
end
$$;

-- Keeps the name of an accepted operation, by row id and whatever became of the claim: a paid name is never refused.
-- A job that was buried meanwhile goes on by itself. The name of a waived call is kept as that of a paid call and not resumed:
-- another call may be running by now.
create function superstoryboard.accept_call_v1(p_call bigint, p_operation_name text) returns void
language plpgsql as $$
declare
  call superstoryboard.provider_calls;
  locked record;
  job superstoryboard.jobs;
begin
  select * into call from superstoryboard.provider_calls where id = p_call;
  select * into locked from superstoryboard.lock_job(call.job_id);
  job := locked.job;
  update superstoryboard.provider_calls
  set state = 'SETTLED', paid = true, operation_name = p_operation_name, accepted_at = clock_timestamp(), settled_at = clock_timestamp()
  where id = p_call and state = 'UNKNOWN' and waived_by is not null;
  if found then
    return;
  end if;
  update superstoryboard.provider_calls
  set state = 'ACCEPTED', operation_name = p_operation_name, accepted_at = clock_timestamp()
  where id = p_call and state in ('INTENT', 'UNKNOWN');
  if not found or job.state <> 'DEAD_LETTERED' then
    return;
  end if;
  update superstoryboard.jobs set state = 'RUNNING', error = null, ended_at = null, worker = null where id = job.id
  returning * into job;
  perform superstoryboard.enqueue_job(job, coalesce(job.raw_body, job.generation), 0, 'Goes on: the name of its operation arrived');
  update superstoryboard.jobs set rank = (locked.job).rank where id = job.id;
end
$$;

-- Settles a call that was never sent. A job that was buried meanwhile, since nobody could know that, goes on by itself.
create function superstoryboard.withdraw_call_v1(p_call bigint) returns void
language plpgsql as $$
declare
  call superstoryboard.provider_calls;
  locked record;
  job superstoryboard.jobs;
begin
  select * into call from superstoryboard.provider_calls where id = p_call;
  select * into locked from superstoryboard.lock_job(call.job_id);
  job := locked.job;
  update superstoryboard.provider_calls set state = 'SETTLED', paid = false, settled_at = clock_timestamp()
  where id = p_call and state in ('INTENT', 'UNKNOWN');
  if not found or job.state <> 'DEAD_LETTERED' or job.error ->> 'code' <> 'SUBMIT_INTERRUPTED' then
    return;
  end if;
  update superstoryboard.jobs set state = 'QUEUED', error = null, ended_at = null, worker = null, progress_percent = 0
  where id = job.id
  returning * into job;
  perform superstoryboard.enqueue_job(job, coalesce(job.raw_body, job.generation), 0, 'Goes on: its call was never sent');
  update superstoryboard.jobs set rank = (locked.job).rank where id = job.id;
end
$$;

-- Settles a call: it ended, and it was or was not paid for.
create function superstoryboard.settle_call_v1(p_call bigint, p_paid boolean, p_error jsonb) returns void
language sql as $$
  update superstoryboard.provider_calls
  set state = 'SETTLED', paid = p_paid, error = p_error, settled_at = clock_timestamp()
  where id = p_call and state in ('INTENT', 'ACCEPTED');
$$;

-- Marks a call whose answer never came.
create function superstoryboard.lose_call_v1(p_call bigint, p_error jsonb) returns void
language sql as $$
  update superstoryboard.provider_calls set state = 'UNKNOWN', error = p_error where id = p_call and state = 'INTENT';
$$;
