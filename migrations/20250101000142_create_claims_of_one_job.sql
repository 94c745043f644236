-- The claim of one job: locked, looked at again, buried where nothing more can be done for it, or started.

-- Locks the message of a candidate unless somebody holds it. Neither is true where it was removed.
create function superstoryboard.try_lock_message(p_job superstoryboard.jobs, out locked boolean, out held boolean)
language plpgsql as $$
begin
  execute format('select exists (select from (
      select from pgmq.%I where msg_id = $1 and enqueued_at = $2 for update skip locked
    ) message)', 'q_' || p_job.queue) into locked using p_job.msg_id, p_job.enqueued_at;
  held := not locked and superstoryboard.has_message(p_job);
end
$$;

-- True where the message of a job is in its queue.
create function superstoryboard.has_message(p_job superstoryboard.jobs) returns boolean
language plpgsql as $$
declare
  is_there boolean;
begin
  execute format('select exists (select from pgmq.%I where msg_id = $1 and enqueued_at = $2)', 'q_' || p_job.queue)
    into is_there using p_job.msg_id, p_job.enqueued_at;
  return is_there;
end
$$;

-- Locks a candidate, message before job, looks again, and claims it. Null where somebody holds a lock, another claim was faster,
-- or there is nothing to do for it.
create function superstoryboard.claim_candidate(p_job uuid, p_worker text, p_lease_seconds integer, p_held uuid[])
returns superstoryboard.claimed_job
language plpgsql as $$
declare
  unlocked superstoryboard.jobs;
  job superstoryboard.jobs;
  message record;
  turn superstoryboard.turns;
  present timestamptz := clock_timestamp();
begin
  select * into unlocked from superstoryboard.jobs where id = p_job;
  if unlocked.state is null or unlocked.state not in ('QUEUED', 'RUNNING', 'RETRYING') then
    -- Left over where triggers were off, as under a restore.
    delete from superstoryboard.turns where turns.job = p_job and unlocked.state is distinct from 'STAGED';
    return null;
  end if;
  select * into message from superstoryboard.try_lock_message(unlocked);
  if message.held then
    return null;
  end if;
  select * into job from superstoryboard.jobs where id = p_job for update skip locked;
  select * into turn from superstoryboard.turns where turns.job = p_job for update skip locked;
  if superstoryboard.is_call_locked(p_job) or job.id is null or turn.job is null or (job.msg_id, job.enqueued_at) is distinct from (unlocked.msg_id, unlocked.enqueued_at)
     or job.state not in ('QUEUED', 'RUNNING', 'RETRYING') or coalesce(turn.due_at, turn.lease_until, 'infinity') > present then
    return null;
  elsif not message.locked then
    perform superstoryboard.cancel_removed(job);
    return null;
  elsif job.id = any (p_held) and job.state = 'RUNNING' and job.worker = p_worker then
    perform superstoryboard.hold_turn(job, p_lease_seconds);
    return null;
  end if;
  return superstoryboard.take_message(job, p_worker, p_lease_seconds);
end
$$;

-- True where somebody else holds the unsettled call of a job locked: it is being settled, and then the job is another.
create function superstoryboard.is_call_locked(p_job uuid) returns boolean
language plpgsql as $$
begin
  perform 1 from superstoryboard.provider_calls where job_id = p_job and state in ('INTENT', 'ACCEPTED') for update skip locked;
  return not found and exists (
    select from superstoryboard.provider_calls where job_id = p_job and state in ('INTENT', 'ACCEPTED')
  );
end
$$;

-- Gives a job to its present claim until the lease ends.
create function superstoryboard.hold_turn(p_job superstoryboard.jobs, p_lease_seconds integer) returns void
language sql as $$
  update superstoryboard.turns
  set due_at = null, ready = false, claim = p_job.claim, model = superstoryboard.turn_model(p_job),
      lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
  where job = p_job.id;
$$;

-- Buries a job that is due. One that was given back is QUEUED, and only a running job can be buried: it is run first.
create function superstoryboard.bury_due_job(p_job superstoryboard.jobs, p_error jsonb, p_message text) returns void
language plpgsql as $$
begin
  update superstoryboard.jobs set state = 'RUNNING', claim = claim + 1 where id = p_job.id and state = 'QUEUED';
  perform superstoryboard.end_job(p_job, 'DEAD_LETTERED', p_error, null, p_message);
end
$$;

-- What a job that is due may have been paid for, its call locked: a call that is not settled; whether its operation is looked for at
-- the provider; and what the answer of a call may have left in staging.
create function superstoryboard.paid_work(
  p_job uuid, out call superstoryboard.provider_calls, out searched boolean, out upload superstoryboard.artifacts
)
language plpgsql as $$
begin
  select * into call from superstoryboard.provider_calls where job_id = p_job and state in ('INTENT', 'ACCEPTED') for update;
  searched := coalesce(call.state = 'INTENT' and call.search_until is not null and not call.search_over, false);
  if searched and call.search_until <= clock_timestamp() then
    -- However long nobody claimed it: the operation is looked for once more, and then no more.
    update superstoryboard.provider_calls set search_over = true where id = call.id;
  end if;
  select * into upload from superstoryboard.artifacts
  where job_id = p_job and call_id is not null and state = 'UPLOADING' order by created_at desc limit 1;
end
$$;

-- Buries a job whose worker is gone between sending and the operation's name, which was not found: perhaps paid, so a person decides.
create function superstoryboard.bury_interrupted(p_job superstoryboard.jobs, p_call superstoryboard.provider_calls) returns void
language plpgsql as $$
begin
  update superstoryboard.provider_calls set state = 'UNKNOWN' where id = p_call.id;
  perform superstoryboard.bury_due_job(p_job, coalesce(p_call.error - 'raw_answer', superstoryboard.interrupted_submit()),
    'Dead letter: the video may have been charged; its operation name was lost');
end
$$;

-- Buries a job whose worker stopped between the end of a call that was or may have been paid and burying it: a person decides.
-- False where there is no such call.
create function superstoryboard.bury_lost_result(p_job superstoryboard.jobs) returns boolean
language plpgsql as $$
declare
  lost superstoryboard.provider_calls;
begin
  select * into lost from superstoryboard.provider_calls
  where job_id = p_job.id and waived_by is null and (state = 'SETTLED' and paid or state = 'UNKNOWN' and shape = 'OPERATION')
  order by id desc limit 1;
  if lost.id is null then
    return false;
  end if;
  perform superstoryboard.bury_due_job(p_job, coalesce(
    lost.error - 'raw_answer',
    case lost.state when 'UNKNOWN' then superstoryboard.interrupted_submit() end,
    jsonb_build_object(
      'class', 'UNKNOWN_OUTCOME', 'code', 'PAID_RESULT_LOST', 'message', 'A call was charged, but its result was lost'
    )
  ), case lost.state
    when 'UNKNOWN' then 'Dead letter: the video may have been charged; its operation name was lost'
    else 'Dead letter: the call was charged, but its result was lost'
  end);
  return true;
end
$$;

-- Gives back the attempt of a claim whose worker was lost before it called, and counts the loss. Returns the job as it is then.
create function superstoryboard.count_lost_claim(p_job superstoryboard.jobs) returns superstoryboard.jobs
language plpgsql as $$
declare
  job superstoryboard.jobs := p_job;
begin
  if superstoryboard.was_lost_unspent(job) then
    update superstoryboard.jobs set attempt = attempt - 1, claim_spent_attempt = false, lost_claims = lost_claims + 1
    where id = job.id
    returning * into job;
  end if;
  return job;
end
$$;

-- Buries a job that has no attempt left, or whose workers were lost too often. False where it may be tried again.
create function superstoryboard.bury_exhausted(p_job superstoryboard.jobs) returns boolean
language plpgsql as $$
begin
  if p_job.attempt < p_job.max_attempts and p_job.lost_claims < superstoryboard.max_lost_claims() then
    return false;
  end if;
  perform superstoryboard.bury_due_job(p_job, coalesce(p_job.error, jsonb_build_object(
    'class', 'TRANSIENT', 'code', 'WORKER_LOST', 'message', 'Every worker that claimed the job stopped before the job ended'
  )), format('Dead letter after %s attempts', p_job.attempt));
  return true;
end
$$;

-- Runs a locked job under its next claim. Its message is hidden for a day: while the job runs only its turn changes.
create function superstoryboard.start_claim(
  p_job uuid, p_worker text, p_lease_seconds integer, p_spends boolean, p_message text
) returns superstoryboard.jobs
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.jobs
  set state = 'RUNNING', claim = claim + 1, worker = p_worker, claim_spent_attempt = p_spends,
      attempt = attempt + p_spends::integer, started_at = coalesce(started_at, clock_timestamp()),
      progress_percent = greatest(progress_percent, 5)
  where id = p_job
  returning * into job;
  perform superstoryboard.hold_turn(job, p_lease_seconds);
  perform pgmq.set_vt(job.queue, job.msg_id, 86400);
  perform superstoryboard.emit_event(job, p_message);
  return job;
end
$$;

-- Turns a locked job that is due into a claimed one; null where there is nothing to do for it. What is paid for or may lie in
-- staging is looked for first: a claim that does so makes no call, and spends nothing.
create function superstoryboard.take_message(p_job superstoryboard.jobs, p_worker text, p_lease_seconds integer)
returns superstoryboard.claimed_job
language plpgsql as $$
declare
  job superstoryboard.jobs := p_job;
  work record;
  call superstoryboard.provider_calls;
  upload superstoryboard.artifacts;
  spends boolean;
begin
  select * into work from superstoryboard.paid_work(job.id);
  call := work.call;
  upload := work.upload;
  if call.shape = 'OPERATION' and call.state = 'INTENT' and not work.searched then
    perform superstoryboard.bury_interrupted(job, call);
    return null;
  end if;
  spends := not (coalesce(call.state = 'ACCEPTED', false) or work.searched or upload.id is not null);
  if spends and superstoryboard.bury_lost_result(job) then
    return null;
  end if;
  job := superstoryboard.count_lost_claim(job);
  if spends and superstoryboard.bury_exhausted(job) then
    return null;
  end if;
  job := superstoryboard.start_claim(job.id, p_worker, p_lease_seconds, spends, case
    when work.searched then 'Searching for the operation at the provider'
    when call.state = 'ACCEPTED' then 'Resumed'
    else 'Started'
  end);
  return superstoryboard.claimed(job, call, work.searched, upload);
end
$$;

-- A job as its worker gets it: with the operation to poll or to look for, and what to look for in staging.
create function superstoryboard.claimed(
  job superstoryboard.jobs, call superstoryboard.provider_calls, searched boolean, upload superstoryboard.artifacts
) returns superstoryboard.claimed_job
language plpgsql as $$
declare
  claimed superstoryboard.claimed_job;
begin
  claimed.id := job.id;
  claimed.kind := job.kind;
  claimed.owner := job.owner;
  claimed.claim := job.claim;
  claimed.attempt := job.attempt;
  claimed.max_attempts := job.max_attempts;
  claimed.queue := job.queue;
  claimed.msg_id := job.msg_id;
  claimed.generation := job.generation;
  claimed.raw_body := case when job.generation is null then superstoryboard.body_text(job.raw_body) end;
  claimed.model := job.model;
  claimed.traceparent := job.traceparent;
  claimed.call_id := case when call.state = 'ACCEPTED' or searched then call.id end;
  claimed.call_route := call.route;
  claimed.call_model := call.model;
  claimed.operation_name := call.operation_name;
  claimed.operation_age_seconds := extract(epoch from clock_timestamp() - call.accepted_at);
  claimed.sent_at := case when searched then call.created_at end;
  claimed.sent_age_seconds := extract(epoch from clock_timestamp() - call.created_at);
  claimed.search_left_seconds := extract(epoch from call.search_until - clock_timestamp());
  claimed.upload_id := upload.id;
  claimed.upload_key := upload.staging_key;
  claimed.upload_sha256 := upload.sha256;
  return claimed;
end
$$;

-- The error of a job whose worker stopped while it submitted.
create function superstoryboard.interrupted_submit() returns jsonb
language sql immutable as $$
  select jsonb_build_object(
    'class', 'UNKNOWN_OUTCOME', 'code', 'SUBMIT_INTERRUPTED',
    'message', 'The worker stopped while it submitted the video. The video may have been charged'
  );
$$;

-- How many claims in a row may be lost before their call, at growing waits, until the job is buried.
create function superstoryboard.max_lost_claims() returns integer
language sql immutable as $$
  select 10;
$$;

-- True where the worker of a job that is due again was lost before it called: the attempt of that claim was not spent.
create function superstoryboard.was_lost_unspent(p_job superstoryboard.jobs) returns boolean
language sql stable as $$
  select p_job.state = 'RUNNING' and p_job.claim_spent_attempt and not exists (
    select from superstoryboard.provider_calls where job_id = p_job.id and claim = p_job.claim
  );
$$;
