-- Claims and leases. Both are rows of superstoryboard.turns; a message is locked before its job and only then changed.

create type superstoryboard.claimed_job as (
  id uuid, kind text, owner text, claim bigint, attempt integer, max_attempts integer, queue text, msg_id bigint,
  generation jsonb, raw_body text, model text, traceparent text,
  call_id bigint, call_route text, call_model text, operation_name text, operation_age_seconds double precision,
  sent_at timestamptz, sent_age_seconds double precision, search_left_seconds double precision,
  upload_id uuid, upload_key text, upload_sha256 text
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

-- The models of the ready jobs, the gate that each passes and the room there. A job without a model passes that of p_model, and one
-- whose kind is not charged none.
create function superstoryboard.ready_gates(
  p_queue text, p_quantity integer, p_provider text, p_model text, p_limits superstoryboard.gate_limits,
  out names text[], out gates text[], out rooms integer[]
)
language plpgsql set enable_seqscan to off as $$
declare
  name text;
  gate text;
begin
  names := '{}';
  gates := '{}';
  rooms := '{}';
  select min(t.model) into name from superstoryboard.turns t where t.queue = p_queue and t.ready;
  while name is not null loop
    gate := coalesce(nullif(name, ''), p_model);
    names := names || name;
    gates := gates || gate;
    rooms := rooms || case name when '-' then p_quantity else (superstoryboard.gate_room(p_provider, gate, p_limits)).room end;
    select min(t.model) into name from superstoryboard.turns t where t.queue = p_queue and t.ready and t.model > name;
  end loop;
end
$$;

-- The first ready job of all models with room: place is that of its model. Those up to (p_turns, p_jobs) of a model were looked at.
create function superstoryboard.next_ready(
  p_queue text, p_names text[], p_rooms integer[], p_turns double precision[], p_jobs uuid[],
  out place bigint, out turn double precision, out job uuid
)
language plpgsql set enable_seqscan to off as $$
begin
  select m.place, n.turn, n.job into place, turn, job
  from unnest(p_names, p_rooms, p_turns, p_jobs) with ordinality as m (name, room, turn, job, place)
  cross join lateral (
    select t.turn, t.job from superstoryboard.turns t
    where t.queue = p_queue and t.model = m.name and t.ready and (t.turn, t.job) > (m.turn, m.job)
    order by t.turn, t.job limit 1
  ) n
  where m.room > 0
  order by n.turn, n.job limit 1;
end
$$;

-- Claims ready jobs in their turn, over all models whose gate has room. Candidates are read without locks, one after the other:
-- one that is locked, or that another claim was faster to take, is passed by.
create function superstoryboard.claim_ready(
  p_queue text, p_worker text, p_quantity integer, p_lease_seconds integer, p_provider text, p_model text,
  p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql as $$
declare
  ready record;
  rooms integer[];
  turns double precision[];
  jobs uuid[];
  candidate record;
  taken superstoryboard.claimed_job;
  remaining integer := p_quantity;
  -- Many that are locked, or that are buried on the way, are left to the next claim.
  deadline timestamptz := clock_timestamp() + interval '2 seconds';
begin
  select * into ready from superstoryboard.ready_gates(p_queue, p_quantity, p_provider, p_model, p_limits);
  rooms := ready.rooms;
  turns := array_fill('-infinity'::double precision, array[cardinality(rooms)]);
  jobs := array_fill('00000000-0000-0000-0000-000000000000'::uuid, array[cardinality(rooms)]);
  while remaining > 0 and clock_timestamp() < deadline loop
    select * into candidate from superstoryboard.next_ready(p_queue, ready.names, rooms, turns, jobs);
    exit when candidate.job is null;
    turns[candidate.place] := candidate.turn;
    jobs[candidate.place] := candidate.job;
    taken := superstoryboard.claim_candidate(candidate.job, p_worker, p_lease_seconds, p_held);
    if taken.id is not null then
      remaining := remaining - 1;
      rooms := array(
        select g.room - (g.gate = ready.gates[candidate.place])::integer
        from unnest(rooms, ready.gates) with ordinality as g (room, gate, place) order by g.place);
      return next taken;
    end if;
  end loop;
end
$$;

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
  seen superstoryboard.jobs;
  job superstoryboard.jobs;
  message record;
  turn superstoryboard.turns;
  present timestamptz := clock_timestamp();
begin
  select * into seen from superstoryboard.jobs where id = p_job;
  if seen.state is null or seen.state not in ('QUEUED', 'RUNNING', 'RETRYING') then
    -- Left over where triggers were off, as under a restore.
    delete from superstoryboard.turns where turns.job = p_job and seen.state is distinct from 'STAGED';
    return null;
  end if;
  select * into message from superstoryboard.try_lock_message(seen);
  if message.held then
    return null;
  end if;
  select * into job from superstoryboard.jobs where id = p_job for update skip locked;
  select * into turn from superstoryboard.turns where turns.job = p_job for update skip locked;
  if superstoryboard.is_call_locked(p_job) or job.id is null or turn.job is null or (job.msg_id, job.enqueued_at) is distinct from (seen.msg_id, seen.enqueued_at)
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

-- Extends the leases of jobs that still belong to their claims, in one update of narrow rows; a job missing from the result is
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
  select superstoryboard.has_operation(p_job.id) or exists (
    select from superstoryboard.artifacts where job_id = p_job.id and state = 'UPLOADING' and call_id is not null
  );
$$;

-- Ends an attempt with an error: the message comes back after the delay. Where the attempt is spent (p_spend) and it was
-- the last, the job is buried, save where there is paid work to bring home: that waits, however often a worker fails at it, to the
-- maximum age. Returns the job's state, or null for a stale claim.
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

-- Ends a running job as FAILED or DEAD_LETTERED. Returns the job's state, or null for a stale claim.
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

-- Reports progress of a running job, which never falls. Returns the percentage that the job has now; null for a stale claim,
-- which changes nothing.
create function superstoryboard.report_progress_v1(p_job uuid, p_claim bigint, p_percent integer, p_message text) returns integer
language plpgsql as $$
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
