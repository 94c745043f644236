-- Claims and leases. The lease of a job is the visibility timeout of its queue message.

create type superstoryboard.claimed_job as (
  id uuid, kind text, owner text, claim bigint, attempt integer, max_attempts integer, queue text, msg_id bigint,
  generation jsonb, raw_body jsonb, model text, traceparent text,
  call_id bigint, call_model text, operation_name text, operation_age_seconds double precision,
  upload_id uuid, upload_key text, upload_sha256 text, upload_size bigint, call_route text
);

-- Takes up to p_quantity due messages. What is already paid comes first, without a place at the gate and also from a paused
-- queue; a message whose model's gate has no room sleeps until it has. Nothing new is taken while the asset_writer is far
-- behind. A job without a model counts as one of p_model. What the caller still holds (p_held) is never claimed anew, however
-- long the database was away: its lease is renewed instead.
create function superstoryboard.claim_jobs_v1(
  p_queue text, p_worker text, p_quantity integer, p_lease_seconds integer, p_force boolean, p_provider text, p_model text,
  p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql as $$
declare
  message record;
  taken superstoryboard.claimed_job;
  remaining integer := p_quantity;
  rooms jsonb := '{}';
  gate record;
  is_held boolean;
  job_model text;
begin
  for message in execute format(
    'select j.id = any ($3) and j.state = ''RUNNING'' as held, q.msg_id, q.enqueued_at, q.message from superstoryboard.provider_calls c
       join superstoryboard.jobs j on j.id = c.job_id
       join pgmq.%I q on q.msg_id = j.msg_id and q.enqueued_at = j.enqueued_at
     where c.state = ''ACCEPTED'' and j.queue = $1 and j.state in (''QUEUED'', ''RUNNING'', ''RETRYING'')
       and q.vt <= clock_timestamp()
     order by c.accepted_at limit $2 for update of q skip locked', 'q_' || p_queue) using p_queue, p_quantity, p_held
  loop
    perform pgmq.set_vt(p_queue, message.msg_id, p_lease_seconds);
    continue when message.held;
    taken := superstoryboard.take_message(p_queue, message.msg_id, message.enqueued_at, message.message, p_worker);
    if taken.id is not null then
      remaining := remaining - 1;
      return next taken;
    end if;
  end loop;
  if remaining <= 0 or (not p_force and exists (
    select from superstoryboard.queues q where q.name = p_queue and (q.paused or q.max_staged <= (
      select count(*) from superstoryboard.jobs j where j.queue = p_queue and j.state = 'STAGED'
    ))
  )) then
    return;
  end if;
  for message in select r.msg_id, r.enqueued_at, r.message from pgmq.read(p_queue, p_lease_seconds, remaining) r order by r.msg_id loop
    select coalesce(nullif(j.model, ''), p_model), j.id = any (p_held) and j.state = 'RUNNING' into job_model, is_held
    from superstoryboard.jobs j
    where j.queue = p_queue and j.msg_id = message.msg_id and j.enqueued_at = message.enqueued_at;
    continue when is_held;
    job_model := coalesce(job_model, p_model);
    select * into gate from superstoryboard.gate_room(p_provider, job_model, p_limits);
    if gate.room <= coalesce((rooms ->> job_model)::integer, 0) then
      perform pgmq.set_vt(p_queue, message.msg_id, greatest(1, ceil(gate.wait_seconds))::integer);
      continue;
    end if;
    taken := superstoryboard.take_message(p_queue, message.msg_id, message.enqueued_at, message.message, p_worker);
    if taken.id is not null then
      rooms := jsonb_set(rooms, array[job_model], to_jsonb(coalesce((rooms ->> job_model)::integer, 0) + 1));
      return next taken;
    end if;
  end loop;
end
$$;

-- Buries a job that is due. One that was given back is QUEUED, and only a running job can be buried: it is run first.
create function superstoryboard.bury_due_job(p_job superstoryboard.jobs, p_error jsonb, p_message text) returns void
language plpgsql as $$
begin
  update superstoryboard.jobs set state = 'RUNNING', claim = claim + 1 where id = p_job.id and state = 'QUEUED';
  perform superstoryboard.end_job(p_job, 'DEAD_LETTERED', p_error, null, p_message);
end
$$;

-- Turns one locked message into a claimed job; null where there is nothing to do for it.
create function superstoryboard.take_message(
  p_queue text, p_msg_id bigint, p_enqueued_at timestamptz, p_body jsonb, p_worker text
) returns superstoryboard.claimed_job
language plpgsql as $$
declare
  job superstoryboard.jobs;
  call superstoryboard.provider_calls;
  lost superstoryboard.provider_calls;
  upload superstoryboard.artifacts;
  spends boolean;
begin
  select * into job from superstoryboard.jobs
  where queue = p_queue and msg_id = p_msg_id and enqueued_at = p_enqueued_at for update;
  if job.id is null then
    job := superstoryboard.adopt_message_v1(p_queue, p_msg_id, p_enqueued_at, p_body, 'sql');
  end if;
  if job.state = 'STAGED' then
    perform pgmq.set_vt(p_queue, p_msg_id, 86400);
    return null;
  end if;
  if job.state not in ('QUEUED', 'RUNNING', 'RETRYING') then
    perform superstoryboard.complete_message(p_queue, p_msg_id, 'archive');
    return null;
  end if;
  select * into call from superstoryboard.provider_calls where job_id = job.id and state in ('INTENT', 'ACCEPTED') for update;
  select * into upload from superstoryboard.artifacts
  where job_id = job.id and state = 'UPLOADING' order by created_at desc limit 1;
  if job.kind = 'video' and call.state = 'INTENT' then
    -- Its worker is gone between sending and the name: perhaps paid, so a person decides.
    update superstoryboard.provider_calls set state = 'UNKNOWN' where id = call.id;
    perform superstoryboard.bury_due_job(job, jsonb_build_object(
      'class', 'UNKNOWN_OUTCOME', 'code', 'SUBMIT_INTERRUPTED',
      'message', 'The worker stopped while it submitted; the video may have been paid for'
    ), 'Dead letter: it is unknown whether the submit was accepted');
    return null;
  end if;
  spends := not (coalesce(call.state = 'ACCEPTED', false) or upload.id is not null);
  if spends then
    select * into lost from superstoryboard.provider_calls
    where job_id = job.id and state = 'SETTLED' and paid and waived_by is null order by id desc limit 1;
    if lost.id is not null then
      -- Its worker stopped between settling a paid call that left nothing and burying the job: a person decides.
      perform superstoryboard.bury_due_job(job, coalesce(lost.error, jsonb_build_object(
        'class', 'UNKNOWN_OUTCOME', 'code', 'PAID_FOR_NOTHING', 'message', 'A call was paid for and left nothing to store'
      )), 'Dead letter: what was paid for left nothing to store');
      return null;
    end if;
  end if;
  if spends and job.attempt >= job.max_attempts then
    perform superstoryboard.bury_due_job(job, coalesce(job.error, jsonb_build_object(
      'class', 'TRANSIENT', 'code', 'WORKER_LOST', 'message', 'Every worker that took the job stopped before it ended'
    )), format('Dead letter after %s attempts', job.attempt));
    return null;
  end if;
  update superstoryboard.jobs
  set state = 'RUNNING', claim = claim + 1, worker = p_worker, claim_spent_attempt = spends,
      attempt = attempt + spends::integer, started_at = coalesce(started_at, clock_timestamp()), progress_percent = 5
  where id = job.id
  returning * into job;
  perform superstoryboard.emit_event(job, case when call.state = 'ACCEPTED' then 'Resumed' else 'Started' end);
  return row(
    job.id, job.kind, job.owner, job.claim, job.attempt, job.max_attempts, job.queue, job.msg_id,
    job.generation, job.raw_body, job.model, job.traceparent,
    case when call.state = 'ACCEPTED' then call.id end, call.model, call.operation_name,
    extract(epoch from clock_timestamp() - call.accepted_at)::double precision,
    upload.id, upload.staging_key, upload.sha256, upload.size_bytes, call.route
  )::superstoryboard.claimed_job;
end
$$;

-- Extends the leases of jobs that still belong to their claims; a job missing from the answer is lost.
create function superstoryboard.extend_leases_v1(p_queue text, p_jobs uuid[], p_claims bigint[], p_lease_seconds integer)
returns setof uuid
language plpgsql as $$
declare
  held record;
begin
  for held in
    select j.id, j.msg_id, j.enqueued_at, asked.claim
    from unnest(p_jobs, p_claims) as asked (id, claim) join superstoryboard.jobs j on j.id = asked.id
    order by j.msg_id
  loop
    if superstoryboard.lock_message(p_queue, held.msg_id, held.enqueued_at) and exists (
      select from superstoryboard.jobs where id = held.id and claim = held.claim and state = 'RUNNING'
    ) then
      perform pgmq.set_vt(p_queue, held.msg_id, p_lease_seconds);
      return next held.id;
    end if;
  end loop;
end
$$;

-- True where the claim is unchanged and its lease runs for at least p_seconds more.
create function superstoryboard.holds_lease_v1(p_job uuid, p_claim bigint, p_seconds integer) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
  holds boolean;
begin
  select * into job from superstoryboard.jobs where id = p_job and claim = p_claim and state = 'RUNNING';
  if job.id is null then
    return false;
  end if;
  execute format(
    'select exists (select from pgmq.%I where msg_id = $1 and enqueued_at = $2 and vt >= clock_timestamp() + make_interval(secs => $3))',
    'q_' || job.queue) into holds using job.msg_id, job.enqueued_at, p_seconds;
  return holds;
end
$$;

-- What a claim that ends without spending returns: its attempt, unless an operation was accepted, whose attempt goes on.
create function superstoryboard.attempt_to_give_back(p_job superstoryboard.jobs) returns integer
language sql stable as $$
  select (p_job.claim_spent_attempt and not exists (
    select from superstoryboard.provider_calls where job_id = p_job.id and state = 'ACCEPTED'
  ))::integer;
$$;

-- Gives a job back without spending the attempt of its claim.
create function superstoryboard.release_job_v1(p_job uuid, p_claim bigint, p_delay_seconds integer, p_message text)
returns boolean
language plpgsql as $$
declare
  locked record;
  job superstoryboard.jobs;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  if job.id is null or job.claim <> p_claim or job.state not in ('RUNNING', 'QUEUED') then
    return false;
  elsif job.state = 'QUEUED' then
    return true;
  elsif not locked.message_found then
    perform superstoryboard.cancel_removed(job);
    return false;
  end if;
  update superstoryboard.jobs j
  set state = 'QUEUED', attempt = attempt - superstoryboard.attempt_to_give_back(j), claim_spent_attempt = false, worker = null
  where id = job.id
  returning * into job;
  perform superstoryboard.set_due(job, p_delay_seconds);
  perform superstoryboard.emit_event(job, p_message);
  return true;
end
$$;

-- Ends an attempt with an error: the message comes back after the delay. Where the attempt is spent (p_spend) and it was
-- the last, the job is buried, save where a paid operation is still to be fetched. Answers the job's state, or null for a stale claim.
create function superstoryboard.retry_job_v1(p_job uuid, p_claim bigint, p_delay_seconds integer, p_error jsonb, p_spend boolean)
returns text
language plpgsql as $$
declare
  locked record;
  job superstoryboard.jobs;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  job := locked.job;
  if job.id is null or job.claim <> p_claim or job.state not in ('RUNNING', 'RETRYING', 'DEAD_LETTERED') then
    return null;
  elsif job.state <> 'RUNNING' then
    return job.state;
  elsif not locked.message_found then
    perform superstoryboard.cancel_removed(job);
    return 'CANCELLED';
  elsif p_spend and job.attempt >= job.max_attempts and not exists (
    select from superstoryboard.provider_calls where job_id = job.id and state = 'ACCEPTED'
  ) then
    perform superstoryboard.end_job(job, 'DEAD_LETTERED', p_error, null, format('Dead letter after %s attempts: %s', job.attempt, p_error ->> 'message'));
    return 'DEAD_LETTERED';
  end if;
  update superstoryboard.jobs j
  set state = 'RETRYING', error = p_error, worker = null,
      attempt = attempt - case when p_spend then 0 else superstoryboard.attempt_to_give_back(j) end, claim_spent_attempt = false
  where id = job.id
  returning * into job;
  perform superstoryboard.set_due(job, p_delay_seconds);
  perform superstoryboard.emit_event(job, format('Retries in %s s: %s', p_delay_seconds, p_error ->> 'message'));
  return job.state;
end
$$;

-- Ends a running job as FAILED or DEAD_LETTERED. Answers the job's state, or null for a stale claim.
create function superstoryboard.fail_job_v1(p_job uuid, p_claim bigint, p_state text, p_error jsonb) returns text
language plpgsql as $$
declare
  locked record;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  if (locked.job).id is null or (locked.job).claim <> p_claim or (locked.job).state not in ('RUNNING', p_state) then
    return null;
  elsif (locked.job).state = p_state then
    return p_state;
  elsif not locked.message_found then
    perform superstoryboard.cancel_removed(locked.job);
    return 'CANCELLED';
  end if;
  perform superstoryboard.end_job(locked.job, p_state, p_error, null, p_error ->> 'message');
  return p_state;
end
$$;

-- Reports progress of a running job; a stale claim changes nothing.
create function superstoryboard.report_progress_v1(p_job uuid, p_claim bigint, p_percent integer, p_message text) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.jobs set progress_percent = p_percent
  where id = p_job and claim = p_claim and state = 'RUNNING'
  returning * into job;
  if job.id is null then
    return false;
  end if;
  perform superstoryboard.emit_event(job, p_message);
  return true;
end
$$;

-- Shows in a job what it waits for, without ending its attempt: Storage refuses until somebody mends the set-up. Fenced by the
-- claim where one is given. The same error is told once.
create function superstoryboard.note_job_error_v1(p_job uuid, p_claim bigint, p_error jsonb) returns boolean
language plpgsql as $$
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
