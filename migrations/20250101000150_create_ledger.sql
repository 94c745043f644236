-- The ledger of provider calls: what was sent, what was accepted, what was paid.

-- Records the intent to call, and where the answer holds the bytes (p_shape ANSWER) the place in staging where they go: whoever gets
-- the job later finds it.
-- Without `call_id` no call may be sent. `refused` says why: SECOND_PAYMENT where an earlier call was paid, or perhaps for an
-- operation, and nobody waived it; CALL_LIMIT_REACHED where as many calls as the job has attempts were or may have been paid since it was
-- enqueued. Null: the claim is stale, the lease is short, or what an earlier call may have left in staging was not looked for.
-- A call of shape ANSWER that was never answered is repeated, and the earlier one stays UNKNOWN.
create function superstoryboard.intend_call_v1(
  p_job uuid, p_claim bigint, p_route text, p_shape text, p_model text, p_call_hash text, p_lease_seconds integer, p_staging_bucket text,
  out call_id bigint, out staging_key text, out refused text
)
language plpgsql as $$
#variable_conflict use_column
declare
  locked record;
  job superstoryboard.jobs;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  if job.claim is distinct from p_claim or job.state <> 'RUNNING' or not locked.message_found
     or not superstoryboard.holds_lease_v1(p_job, p_claim, p_lease_seconds) then
    return;
  end if;
  select c.id, a.staging_key into call_id, staging_key
  from superstoryboard.provider_calls c left join superstoryboard.artifacts a on a.call_id = c.id
  where c.job_id = p_job and c.claim = p_claim and c.state = 'INTENT' and c.call_hash = p_call_hash;
  if call_id is not null or exists (
    select from superstoryboard.artifacts u
    where u.job_id = p_job and u.state = 'UPLOADING' and u.call_id is not null and u.claim <> p_claim
  ) then
    return;
  end if;
  refused := superstoryboard.call_refused(job);
  if refused is not null then
    return;
  end if;
  update superstoryboard.provider_calls set state = 'UNKNOWN' where job_id = p_job and state = 'INTENT';
  perform superstoryboard.give_up_uploads(p_job);
  insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model)
  values (p_job, p_claim, p_call_hash, p_route, p_shape, p_model)
  returning id into call_id;
  if p_shape = 'ANSWER' then
    staging_key := (superstoryboard.open_upload(p_job, p_claim, call_id, p_staging_bucket, 0)).staging_key;
  end if;
end
$$;

-- Gives up what a job has begun to upload.
create function superstoryboard.give_up_uploads(p_job uuid) returns void
language plpgsql as $$
begin
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp()
  where job_id = p_job and state = 'UPLOADING';
end
$$;

-- Gives bytes that are to come their row and their place in staging. p_call is the call whose answer they are, null where they are
-- none; p_index says which result of the job.
create function superstoryboard.open_upload(
  p_job uuid, p_claim bigint, p_call bigint, p_staging_bucket text, p_index integer, out artifact uuid, out staging_key text
)
language plpgsql as $$
#variable_conflict use_column
begin
  artifact := superstoryboard.uuid_v7();
  staging_key := format('%s/%s/%s', p_job, p_claim, artifact);
  insert into superstoryboard.artifacts (id, job_id, call_id, claim, index, staging_bucket, staging_key)
  values (artifact, p_job, p_call, p_claim, p_index, p_staging_bucket, staging_key);
end
$$;

-- Why a job may make no more call: SECOND_PAYMENT or CALL_LIMIT_REACHED; null where it may. Calls known to be unpaid never count.
create function superstoryboard.call_refused(p_job superstoryboard.jobs) returns text
language sql stable as $$
  select case
    when bool_or(c.waived_by is null and (c.state = 'SETTLED' or c.shape = 'OPERATION')) then 'SECOND_PAYMENT'
    when count(*) filter (where c.created_at >= p_job.enqueued_at) >= p_job.max_attempts then 'CALL_LIMIT_REACHED'
  end
  from superstoryboard.provider_calls c
  where c.job_id = p_job.id and (c.state <> 'SETTLED' or c.paid);
$$;

-- Keeps the name of an accepted operation, by row id and whatever became of the claim: a paid name is never refused. It waits for
-- no lock but that of its row, which is held for moments only. The name of a waived call, and of one that another unsettled call
-- has followed, is kept as that of a paid call and not resumed. False where the call does not have the name in the end: it is that of
-- another call, or this one has ended or has another name.
create function superstoryboard.keep_name_v1(p_call bigint, p_operation_name text) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.check_call(p_call);
  update superstoryboard.provider_calls c
  set (operation_name, accepted_at, state, paid, settled_at) = (
    select p_operation_name, clock_timestamp(), case when followed then 'SETTLED' else 'ACCEPTED' end,
      case when followed then true end, case when followed then clock_timestamp() end
    from (
      select c.state = 'UNKNOWN' and (c.waived_by is not null or exists (
        select from superstoryboard.provider_calls o
        where o.job_id = c.job_id and o.id <> c.id and o.state in ('INTENT', 'ACCEPTED')
      )) as followed
    ) present
  )
  where c.id = p_call and c.state in ('INTENT', 'UNKNOWN') and not exists (
    -- Found by a search that gave it to another call for the same video: it is kept there.
    select from superstoryboard.provider_calls o
    where o.route = c.route and o.operation_name = p_operation_name and o.id <> p_call
  );
  select exists (select from superstoryboard.provider_calls where id = p_call and operation_name = p_operation_name);
$$;

-- Lets a job go on by itself that was buried before it was known what became of its call: the operation's name arrived late, or
-- word that the call was never accepted.
create function superstoryboard.revive_job_v1(p_call bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  call superstoryboard.provider_calls;
  locked record;
  job superstoryboard.jobs;
begin
  perform superstoryboard.check_call(p_call);
  select * into call from superstoryboard.provider_calls where id = p_call;
  select * into locked from superstoryboard.lock_job(call.job_id);
  job := locked.job;
  if job.state is distinct from 'DEAD_LETTERED' then
    return;
  end if;
  select * into call from superstoryboard.provider_calls where id = p_call;
  if call.state = 'ACCEPTED' then
    update superstoryboard.jobs set state = 'RUNNING', error = null, ended_at = null, worker = null where id = job.id
    returning * into job;
    perform superstoryboard.enqueue_job(job, 0, 'Resumed: the operation name arrived late');
  elsif call.state = 'SETTLED' and not call.paid and job.error ->> 'code' = 'SUBMIT_INTERRUPTED' then
    update superstoryboard.jobs set state = 'QUEUED', error = null, ended_at = null, worker = null, progress_percent = 0
    where id = job.id
    returning * into job;
    perform superstoryboard.enqueue_job(job, 0, 'Queued again: the provider did not accept the call');
  else
    return;
  end if;
  update superstoryboard.jobs set rank = (locked.job).rank where id = job.id;
end
$$;

-- Both in one, for those who enter a name by hand.
create function superstoryboard.accept_call_v1(p_call bigint, p_operation_name text) returns void
language sql as $$
  select superstoryboard.keep_name_v1(p_call, p_operation_name);
  select superstoryboard.revive_job_v1(p_call);
$$;

-- Settles a call: it ended, and it was or was not paid for; also one of unknown outcome of which more became known, and then the
-- result is true: its job may have been buried meanwhile. Where the call left nothing (it was not paid, or there is an error) its
-- bytes are looked for no more. Paid without an error: they are on their way.
create function superstoryboard.settle_call_v1(p_call bigint, p_paid boolean, p_error jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  was text;
begin
  perform superstoryboard.check_call(p_call);
  select state into was from superstoryboard.provider_calls where id = p_call for update;
  update superstoryboard.provider_calls
  set state = 'SETTLED', paid = p_paid, error = p_error, settled_at = clock_timestamp()
  where id = p_call and state <> 'SETTLED';
  if not p_paid or p_error is not null then
    update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp()
    where call_id = p_call and state = 'UPLOADING';
  end if;
  return coalesce(was = 'UNKNOWN', false);
end
$$;

-- Marks a call whose answer never came, or was not understood: nothing of it will come any more.
create function superstoryboard.lose_call_v1(p_call bigint, p_error jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.check_call(p_call);
  select from superstoryboard.provider_calls where id = p_call for update;
  update superstoryboard.provider_calls set state = 'UNKNOWN', error = p_error where id = p_call and state = 'INTENT';
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp()
  where call_id = p_call and state = 'UPLOADING';
$$;
