-- Claims and leases. Both are rows of superstoryboard.turns; a message is locked before its job and only then changed.

create type superstoryboard.claimed_job as (
  id uuid, kind text, owner text, claim bigint, attempt integer, max_attempts integer, queue text, msg_id bigint,
  generation jsonb, raw_body text, model text, traceparent text,
  call_id bigint, call_model text, operation_name text, operation_age_seconds double precision,
  upload_id uuid, upload_key text, upload_sha256 text, upload_size bigint, call_route text,
  sent_at timestamptz, sent_age_seconds double precision, search_left_seconds double precision
);

-- Takes up to p_quantity due jobs. What is already paid comes first, without a place at the gate and also from a paused queue;
-- of the others only those whose model's gate has room are looked at. Nothing new is taken while the asset_writer is far behind.
-- A job without a model counts as one of p_model. What the caller still holds (p_held) is never claimed anew, however long the
-- database was away: its lease is renewed instead. A claim that finds nothing looks for jobs whose worker stopped and for
-- messages without a job, and then once more.
create function superstoryboard.claim_jobs_v1(
  p_queue text, p_worker text, p_quantity integer, p_lease_seconds integer, p_force boolean, p_provider text, p_model text,
  p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql as $$
declare
  paid integer;
  others integer;
begin
  return query select * from superstoryboard.claim_paid(p_queue, p_worker, p_quantity, p_lease_seconds, p_held);
  get diagnostics paid = row_count;
  if paid >= p_quantity or not (p_force or superstoryboard.takes_new(p_queue)) then
    return;
  end if;
  perform superstoryboard.ready_turns(p_queue);
  if not superstoryboard.adopts_at_insert(p_queue) then
    perform superstoryboard.adopt_new_messages(p_queue);
  end if;
  return query select * from superstoryboard.claim_ready(
    p_queue, p_worker, p_quantity - paid, p_lease_seconds, p_provider, p_model, p_limits, p_held);
  get diagnostics others = row_count;
  if paid + others = 0 and superstoryboard.recover_leases(p_queue, 100) + superstoryboard.adopt_new_messages(p_queue) > 0 then
    return query select * from superstoryboard.claim_ready(
      p_queue, p_worker, p_quantity, p_lease_seconds, p_provider, p_model, p_limits, p_held);
  end if;
end
$$;

-- True where new jobs may be claimed: the queue is not paused, and the asset_writer keeps up.
create function superstoryboard.takes_new(p_queue text) returns boolean
language sql stable as $$
  select not q.paused and q.max_staged > (
    select count(*) from (
      select from superstoryboard.jobs j where j.queue = p_queue and j.state = 'STAGED' limit q.max_staged
    ) staged
  ) from superstoryboard.queues q where q.name = p_queue;
$$;

-- Claims due jobs whose operation the provider has accepted, or perhaps has and it is looked for, or whose answer may be in staging;
-- the oldest first.
create function superstoryboard.claim_paid(
  p_queue text, p_worker text, p_quantity integer, p_lease_seconds integer, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql set enable_seqscan to off as $$
declare
  present timestamptz := clock_timestamp();
  candidate uuid;
  taken superstoryboard.claimed_job;
  remaining integer := p_quantity;
begin
  for candidate in
    select c.job_id from (
      select job_id, accepted_at as since from superstoryboard.provider_calls where state = 'ACCEPTED' and not parked
      union all
      select job_id, created_at from superstoryboard.provider_calls
      where state = 'INTENT' and search_until is not null and not parked
      union all
      select job_id, created_at from superstoryboard.artifacts
      where state = 'UPLOADING' and call_id is not null and not parked
    ) c join superstoryboard.turns t on t.job = c.job_id
    where t.queue = p_queue and (t.due_at <= present or t.due_at is null and t.lease_until <= present)
    order by c.since
  loop
    exit when remaining <= 0;
    taken := superstoryboard.claim_candidate(candidate, p_worker, p_lease_seconds, p_held);
    if taken.id is not null then
      remaining := remaining - 1;
      return next taken;
    end if;
  end loop;
end
$$;

-- Lets jobs that have become due take part in the claims.
create function superstoryboard.ready_turns(p_queue text) returns void
language plpgsql set enable_seqscan to off as $$
declare
  present timestamptz := clock_timestamp();
begin
  update superstoryboard.turns t set ready = true
  from (
    select job from superstoryboard.turns
    where queue = p_queue and not ready and due_at <= present order by due_at limit 100 for update skip locked
  ) due
  where t.job = due.job;
end
$$;

-- Claims ready jobs in their turn, over all models whose gate has room. Candidates are read without locks, one after the other:
-- one that is locked, or that another claim was faster to take, is passed by.
create function superstoryboard.claim_ready(
  p_queue text, p_worker text, p_quantity integer, p_lease_seconds integer, p_provider text, p_model text,
  p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql set enable_seqscan to off as $$
declare
  name text;
  names text[] := '{}';
  gates text[] := '{}';
  rooms integer[] := '{}';
  turns double precision[] := '{}';
  jobs uuid[] := '{}';
  candidate record;
  taken superstoryboard.claimed_job;
  remaining integer := p_quantity;
  -- Many that are locked, or that are buried on the way, are left to the next claim.
  deadline timestamptz := clock_timestamp() + interval '2 seconds';
begin
  select min(t.model) into name from superstoryboard.turns t where t.queue = p_queue and t.ready;
  while name is not null loop
    names := names || name;
    gates := gates || coalesce(nullif(name, ''), p_model);
    rooms := rooms || (superstoryboard.gate_room(p_provider, gates[cardinality(gates)], p_limits)).room;
    turns := turns || '-infinity'::double precision;
    jobs := jobs || '00000000-0000-0000-0000-000000000000'::uuid;
    select min(t.model) into name from superstoryboard.turns t where t.queue = p_queue and t.ready and t.model > name;
  end loop;
  while remaining > 0 and clock_timestamp() < deadline loop
    select m.place, n.turn, n.job into candidate
    from unnest(names, rooms, turns, jobs) with ordinality as m (name, room, turn, job, place)
    cross join lateral (
      select t.turn, t.job from superstoryboard.turns t
      where t.queue = p_queue and t.model = m.name and t.ready and (t.turn, t.job) > (m.turn, m.job)
      order by t.turn, t.job limit 1
    ) n
    where m.room > 0
    order by n.turn, n.job limit 1;
    exit when not found;
    turns[candidate.place] := candidate.turn;
    jobs[candidate.place] := candidate.job;
    taken := superstoryboard.claim_candidate(candidate.job, p_worker, p_lease_seconds, p_held);
    if taken.id is not null then
      remaining := remaining - 1;
      for place in 1 .. cardinality(gates) loop
        rooms[place] := rooms[place] - (gates[place] = gates[candidate.place])::integer;
      end loop;
      return next taken;
    end if;
  end loop;
end
$$;

-- Locks a candidate, message before job, looks again, and claims it. Null where somebody holds a lock, another claim was faster,
-- or there is nothing to do for it.
create function superstoryboard.claim_candidate(p_job uuid, p_worker text, p_lease_seconds integer, p_held uuid[])
returns superstoryboard.claimed_job
language plpgsql as $$
declare
  seen superstoryboard.jobs;
  job superstoryboard.jobs;
  message_id bigint;
  is_there boolean := true;
  turn superstoryboard.turns;
  present timestamptz := clock_timestamp();
begin
  select * into seen from superstoryboard.jobs where id = p_job;
  if seen.state is null or seen.state not in ('QUEUED', 'RUNNING', 'RETRYING') then
    -- Left over where triggers were off, as under a restore.
    delete from superstoryboard.turns where turns.job = p_job and seen.state is distinct from 'STAGED';
    return null;
  end if;
  execute format('select msg_id from pgmq.%I where msg_id = $1 and enqueued_at = $2 for update skip locked', 'q_' || seen.queue)
    into message_id using seen.msg_id, seen.enqueued_at;
  if message_id is null then
    execute format('select exists (select from pgmq.%I where msg_id = $1 and enqueued_at = $2)', 'q_' || seen.queue)
      into is_there using seen.msg_id, seen.enqueued_at;
    if is_there then
      return null;
    end if;
  end if;
  select * into job from superstoryboard.jobs where id = p_job for update skip locked;
  select * into turn from superstoryboard.turns where turns.job = p_job for update skip locked;
  if superstoryboard.is_call_locked(p_job) or job.id is null or turn.job is null or (job.msg_id, job.enqueued_at) is distinct from (seen.msg_id, seen.enqueued_at)
     or job.state not in ('QUEUED', 'RUNNING', 'RETRYING') or coalesce(turn.due_at, turn.lease_until, 'infinity') > present then
    return null;
  elsif not is_there then
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
  set due_at = null, ready = false, claim = p_job.claim, model = p_job.model,
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

-- Turns a locked job that is due into a claimed one; null where there is nothing to do for it. Its message is hidden for a day:
-- while the job runs only its turn changes.
create function superstoryboard.take_message(p_job superstoryboard.jobs, p_worker text, p_lease_seconds integer)
returns superstoryboard.claimed_job
language plpgsql as $$
declare
  job superstoryboard.jobs := p_job;
  call superstoryboard.provider_calls;
  lost superstoryboard.provider_calls;
  upload superstoryboard.artifacts;
  spends boolean;
  searched boolean;
begin
  select * into call from superstoryboard.provider_calls where job_id = job.id and state in ('INTENT', 'ACCEPTED') for update;
  select * into upload from superstoryboard.artifacts
  where job_id = job.id and job.kind = 'image' and state = 'UPLOADING' order by created_at desc limit 1;
  searched := job.kind = 'video' and coalesce(call.state = 'INTENT' and call.search_until > clock_timestamp(), false);
  if job.kind = 'video' and call.state = 'INTENT' and not searched then
    -- Its worker is gone between sending and the name, and it was not found: perhaps paid, so a person decides.
    update superstoryboard.provider_calls set state = 'UNKNOWN' where id = call.id;
    perform superstoryboard.bury_due_job(job, coalesce(call.error - 'raw_answer', superstoryboard.interrupted_submit()),
      'Dead letter: the video may have been charged; its operation name was lost');
    return null;
  end if;
  -- What is paid for or may lie in staging is looked for first; a claim that does so makes no call, and spends nothing.
  spends := not (coalesce(call.state = 'ACCEPTED', false) or searched or upload.id is not null);
  if spends then
    select * into lost from superstoryboard.provider_calls
    where job_id = job.id and waived_by is null and (state = 'SETTLED' and paid or state = 'UNKNOWN' and job.kind = 'video')
    order by id desc limit 1;
    if lost.id is not null then
      -- Its worker stopped between the end of a call that was or may have been paid and burying the job: a person decides.
      perform superstoryboard.bury_due_job(job, coalesce(
        lost.error - 'raw_answer',
        case lost.state when 'UNKNOWN' then superstoryboard.interrupted_submit() end,
        jsonb_build_object(
          'class', 'UNKNOWN_OUTCOME', 'code', 'PAID_RESULT_LOST', 'message', 'A call was charged, but its result was lost'
        )
      ), case lost.state
        when 'UNKNOWN' then 'Dead letter: the video may have been charged; its operation name was lost'
        else 'Dead letter: the call was charged, but its result was lost'
      end);
      return null;
    end if;
  end if;
  if superstoryboard.was_lost_unspent(job) then
    update superstoryboard.jobs set attempt = attempt - 1, claim_spent_attempt = false, lost_claims = lost_claims + 1
    where id = job.id
    returning * into job;
  end if;
  if spends and (job.attempt >= job.max_attempts or job.lost_claims >= superstoryboard.max_lost_claims()) then
    perform superstoryboard.bury_due_job(job, coalesce(job.error, jsonb_build_object(
      'class', 'TRANSIENT', 'code', 'WORKER_LOST', 'message', 'Every worker that claimed the job stopped before the job ended'
    )), format('Dead letter after %s attempts', job.attempt));
    return null;
  end if;
  update superstoryboard.jobs
  set state = 'RUNNING', claim = claim + 1, worker = p_worker, claim_spent_attempt = spends,
      attempt = attempt + spends::integer, started_at = coalesce(started_at, clock_timestamp()),
      progress_percent = 5
  where id = job.id
  returning * into job;
  perform superstoryboard.hold_turn(job, p_lease_seconds);
  perform pgmq.set_vt(job.queue, job.msg_id, 86400);
  perform superstoryboard.emit_event(job, case
    when searched then 'Searching for the operation at the provider'
    when call.state = 'ACCEPTED' then 'Resumed'
    else 'Started'
  end);
  return row(
    job.id, job.kind, job.owner, job.claim, job.attempt, job.max_attempts, job.queue, job.msg_id,
    job.generation, case when job.generation is null then superstoryboard.body_text(job.raw_body) end, job.model, job.traceparent,
    case when call.state = 'ACCEPTED' or searched then call.id end, call.model, call.operation_name,
    extract(epoch from clock_timestamp() - call.accepted_at)::double precision,
    upload.id, upload.staging_key, upload.sha256, upload.size_bytes, call.route,
    case when searched then call.created_at end, extract(epoch from clock_timestamp() - call.created_at)::double precision,
    extract(epoch from call.search_until - clock_timestamp())::double precision
  )::superstoryboard.claimed_job;
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

-- Extends the leases of jobs that still belong to their claims, in one update of narrow rows; a job missing from the answer is
-- lost. A row that somebody holds locked is left as it is and counts as held; so does a job that its claim has handed over. Looks for the expired leases of others, too.
create function superstoryboard.extend_leases_v1(p_queue text, p_jobs uuid[], p_claims bigint[], p_lease_seconds integer)
returns setof uuid
language plpgsql set enable_seqscan to off as $$
begin
  return query
    with held as (
      select t.job from unnest(p_jobs, p_claims) as asked (job, claim)
      join superstoryboard.turns t on t.job = asked.job and t.claim = asked.claim
    ), free as (
      select t.job from unnest(p_jobs, p_claims) as asked (job, claim)
      join superstoryboard.turns t on t.job = asked.job and t.claim = asked.claim
      for update of t skip locked
    ), extended as (
      update superstoryboard.turns t
      set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds), due_at = null, ready = false
      from free where t.job = free.job
    )
    select job from held
    union all
    select j.id from unnest(p_jobs, p_claims) as asked (job, claim)
    join superstoryboard.jobs j on j.id = asked.job and j.claim = asked.claim and j.state in ('STAGED', 'SUCCEEDED')
    where asked.job not in (select job from held);
  perform superstoryboard.recover_leases(p_queue, 100);
end
$$;

-- Makes jobs due whose lease has run out. One whose worker was lost before it called more than once comes back at a random time
-- within a growing span: what it was claimed together with comes apart from it.
create function superstoryboard.recover_leases(p_queue text, p_limit integer) returns bigint
language plpgsql set enable_seqscan to off as $$
declare
  present timestamptz := clock_timestamp();
  recovered bigint;
begin
  with expired as (
    select t.job from superstoryboard.turns t
    where t.queue = p_queue and t.due_at is null and t.lease_until <= present limit p_limit for update skip locked
  ), spread as (
    select j.id, random() * (2 ^ least(j.lost_claims, 6) - 1) as wait_seconds
    from expired e join superstoryboard.jobs j on j.id = e.job
  )
  update superstoryboard.turns t
  set due_at = present + make_interval(secs => s.wait_seconds), ready = s.wait_seconds = 0, lease_until = null
  from spread s where t.job = s.id;
  get diagnostics recovered = row_count;
  return recovered;
end
$$;

-- True where the claim is unchanged and its lease runs for at least p_seconds more.
create function superstoryboard.holds_lease_v1(p_job uuid, p_claim bigint, p_seconds integer) returns boolean
language sql as $$
  select exists (
    select from superstoryboard.turns
    where job = p_job and claim = p_claim and lease_until >= clock_timestamp() + make_interval(secs => p_seconds)
  );
$$;

-- What a claim that ends without spending returns: its attempt, unless an operation was accepted, whose attempt goes on.
create function superstoryboard.attempt_to_give_back(p_job superstoryboard.jobs) returns integer
language sql stable as $$
  select (p_job.claim_spent_attempt and not exists (
    select from superstoryboard.provider_calls
    where job_id = p_job.id and (state = 'ACCEPTED' or state = 'INTENT' and search_until is not null)
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
  select exists (
    select from superstoryboard.provider_calls
    where job_id = p_job.id and (state = 'ACCEPTED' or state = 'INTENT' and search_until > clock_timestamp())
  ) or p_job.kind = 'image' and exists (
    select from superstoryboard.artifacts where job_id = p_job.id and state = 'UPLOADING' and call_id is not null
  );
$$;

-- Ends an attempt with an error: the message comes back after the delay. Where the attempt is spent (p_spend) and it was
-- the last, the job is buried, save where there is paid work to bring home: that waits, however often a worker fails at it, to the
-- maximum age. Answers the job's state, or null for a stale claim.
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
