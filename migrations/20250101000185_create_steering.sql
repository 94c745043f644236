-- What people do to jobs and queues: cancel, retry, redrive, discard, pause.

-- True where a job is for a caller: its own, one of a storyboard that one of its names may read, or, without p_owner, any.
create function superstoryboard.is_seen(p_job superstoryboard.jobs, p_owner text, p_names text[]) returns boolean
language sql stable as $$
  select p_job.id is not null and (
    p_owner is null or p_job.owner = p_owner or superstoryboard.may_read(p_job.storyboard_id, coalesce(p_names, '{}')));
$$;

-- True where a caller that sees a job may also change it.
create function superstoryboard.may_change(p_job superstoryboard.jobs, p_owner text, p_names text[]) returns boolean
language sql stable as $$
  select p_owner is null or p_job.owner = p_owner or superstoryboard.may_write(p_job.storyboard_id, coalesce(p_names, '{}'));
$$;

-- Cancels a job that has not ended. Returns its state before the call, NOT_YOURS, or null where there is none (for this caller).
-- A worker notices at its next fenced step; an operation that runs goes on at the provider and is recorded.
create function superstoryboard.cancel_job_v1(p_job uuid, p_owner text, p_actor text, p_names text[] default '{}') returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs;
begin
  select (l.job).* into job from superstoryboard.lock_job(p_job) l;
  if not superstoryboard.is_seen(job, p_owner, p_names) then
    return null;
  elsif not superstoryboard.may_change(job, p_owner, p_names) then
    return 'NOT_YOURS';
  elsif job.state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') then
    perform superstoryboard.end_job(job, 'CANCELLED', null, null, format('Cancelled by %s', p_actor));
  end if;
  return job.state;
end
$$;

-- True where the bytes of a call are on their way to staging or may be there: they are looked for before anything is paid again.
create function superstoryboard.may_be_staged(p_call superstoryboard.provider_calls) returns boolean
language sql stable as $$
  select exists (select from superstoryboard.artifacts where call_id = p_call.id and state = 'UPLOADING');
$$;

-- Why a locked job is not started, as redrive_job_v1 says it; null where it is. A quota holds up nothing that was or may have been
-- paid, and is locked before the storyboard, as in an accept. Who made the job must be able to write the storyboard that it is for
-- from now on. That is asked last: a job that is not started claims none, or two redrives of several could wait for each other.
create function superstoryboard.start_refusal(
  p_job superstoryboard.jobs, p_owner text, p_names text[], p_states text[], p_generation jsonb, p_quota_scope text
) returns text
language plpgsql as $$
begin
  return case
    when not superstoryboard.may_change(p_job, p_owner, p_names) then 'NOT_YOURS'
    when not p_job.state = any (p_states) then 'JOB_STATE'
    when not exists (select from superstoryboard.provider_calls where job_id = p_job.id and (state <> 'SETTLED' or paid))
      and superstoryboard.is_full(p_job.owner, p_job.kind, p_quota_scope) then 'QUOTA_EXCEEDED'
    when not superstoryboard.claim_storyboard(superstoryboard.board_of(p_job, p_generation), p_job.writes_as) then 'NOT_YOURS'
  end;
end
$$;

-- Lets the earlier calls of a locked job go, or says why not: JOB_OPERATION_RUNNING where an edit would leave a paid operation,
-- SECOND_PAYMENT where a call was paid and nothing of it is left, or perhaps for an operation, and nobody agreed to pay again.
create function superstoryboard.waive_calls(p_job superstoryboard.jobs, p_actor text, p_accept boolean, p_edited boolean) returns text
language plpgsql as $$
begin
  if p_edited and exists (select from superstoryboard.provider_calls where job_id = p_job.id and state = 'ACCEPTED') then
    return 'JOB_OPERATION_RUNNING';
  elsif not p_accept and exists (
    select from superstoryboard.provider_calls
    where job_id = p_job.id and waived_by is null
      and (not p_edited and state = 'SETTLED' and paid and not superstoryboard.may_be_staged(provider_calls)
           or shape = 'OPERATION' and state in ('INTENT', 'UNKNOWN'))
  ) then
    return 'SECOND_PAYMENT';
  end if;
  -- What was asked for before is never resumed after an edit, what was paid included.
  update superstoryboard.provider_calls
  set waived_by = p_actor, state = case when state = 'INTENT' then 'UNKNOWN' else state end
  where job_id = p_job.id and waived_by is null and (
    p_edited or state = 'SETTLED' and paid and (p_accept or not superstoryboard.may_be_staged(provider_calls))
    or shape = 'OPERATION' and state in ('INTENT', 'UNKNOWN')
  );
  if p_edited then
    update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp(), lease_until = null
    where job_id = p_job.id and state in ('UPLOADING', 'STAGED');
  end if;
  return null;
end
$$;

-- How a locked job that starts again goes on without paying; null where it needs a new call.
create function superstoryboard.resume_paid(p_job superstoryboard.jobs, p_accept boolean) returns text
language plpgsql as $$
begin
  update superstoryboard.artifacts set staged_at = clock_timestamp(), lease_until = null, write_attempt = 0
  where job_id = p_job.id and state = 'STAGED';
  if found then
    return 'WRITE_AGAIN';
  elsif exists (select from superstoryboard.provider_calls where job_id = p_job.id and state = 'ACCEPTED') then
    return 'POLL_ON';
  end if;
  -- The video was made and its bytes were discarded: it is fetched again, as long as the provider keeps it. One that the provider
  -- said is gone is asked for again, once where a second payment is accepted.
  update superstoryboard.provider_calls
  set state = 'ACCEPTED', settled_at = null, error = null, asked_again_at = case when error is null then asked_again_at else clock_timestamp() end
  where id = (
    select max(id) from superstoryboard.provider_calls
    where job_id = p_job.id and operation_name is not null and waived_by is null and (
      state = 'SETTLED' and paid and error is null
      or (state = 'UNKNOWN' or paid) and error ->> 'code' in ('OPERATION_GONE', 'VIDEO_GONE', 'UNREADABLE_RESULT', 'VIDEO_URL_MISSING')
         and (not p_accept or asked_again_at is null)
    )
  ) and not exists (select from superstoryboard.provider_calls where job_id = p_job.id and state = 'INTENT');
  return case when found then 'POLL_ON' end;
end
$$;

-- How a locked job that starts again goes on: WRITE_AGAIN, POLL_ON or NEW_CALL; or why it does not, see waive_calls. An edited
-- request resumes nothing.
create function superstoryboard.way_again(p_job superstoryboard.jobs, p_actor text, p_accept boolean, p_edited boolean) returns text
language plpgsql as $$
begin
  return coalesce(
    case when not p_edited then superstoryboard.resume_paid(p_job, p_accept) end,
    superstoryboard.waive_calls(p_job, p_actor, p_accept, p_edited),
    'NEW_CALL'
  );
end
$$;

-- True for what way_again says of a job that starts, false for a refusal.
create function superstoryboard.is_started(p_way text) returns boolean
language sql immutable as $$
  select p_way in ('WRITE_AGAIN', 'POLL_ON', 'NEW_CALL');
$$;

-- The event of a job that starts again.
create function superstoryboard.restart_message(p_way text, p_actor text, p_edited boolean) returns text
language sql immutable as $$
  select format(case
    when p_way = 'WRITE_AGAIN' then 'Started again by %s: storing the staged asset'
    when p_way = 'POLL_ON' then 'Started again by %s: polling the existing operation'
    when p_edited then 'Started again by %s with an edited request'
    else 'Started again by %s'
  end, p_actor);
$$;

-- Starts a job again that ended in one of p_states: writes what is staged, polls on what is paid, or allows a new call.
-- p_generation replaces what was asked for, with provider, model and warnings of its own.
-- Returns WRITE_AGAIN, POLL_ON or NEW_CALL; or why nothing was changed: JOB_STATE, SECOND_PAYMENT, JOB_OPERATION_RUNNING,
-- QUOTA_EXCEEDED, which holds up nothing that may be paid, or NOT_YOURS where who asks, or who made the job, may not write the
-- storyboard; null where there is no such job (for this caller).
create function superstoryboard.redrive_job_v1(
  p_job uuid, p_owner text, p_actor text, p_states text[], p_accept_second_payment boolean,
  p_generation jsonb, p_provider text, p_model text, p_warnings text[], p_names text[] default '{}', p_quota_scope text default 'NONE'
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs;
  way text;
begin
  select (l.job).* into job from superstoryboard.lock_job(p_job) l;
  if not superstoryboard.is_seen(job, p_owner, p_names) then
    return null;
  end if;
  way := superstoryboard.start_refusal(job, p_owner, p_names, p_states, p_generation, p_quota_scope);
  if way is not null then
    return way;
  end if;
  perform superstoryboard.lock_calls(job.id);
  way := superstoryboard.way_again(job, p_actor, p_accept_second_payment, p_generation is not null);
  if not superstoryboard.is_started(way) then
    return way;
  end if;
  update superstoryboard.jobs j
  set state = case way when 'WRITE_AGAIN' then 'STAGED' else 'QUEUED' end,
      -- Raised, so that whoever worked on it before changes nothing.
      claim = claim + 1, claim_spent_attempt = false, attempt = 0, worker = null, error = null, ended_at = null,
      progress_percent = case way when 'WRITE_AGAIN' then 90 else 0 end,
      generation = coalesce(p_generation, j.generation), provider = coalesce(p_provider, j.provider),
      model = coalesce(p_model, j.model), warnings = coalesce(p_warnings, array_remove(j.warnings, 'message removed')),
      storyboard_id = coalesce(p_generation ->> 'storyboardId', j.storyboard_id),
      scene_id = case when p_generation is null then j.scene_id else nullif(p_generation ->> 'sceneId', '') end,
      character_id = case when p_generation is null then j.character_id else nullif(p_generation ->> 'characterId', '') end
  where j.id = job.id
  returning * into job;
  perform superstoryboard.enqueue_job(job, case way when 'WRITE_AGAIN' then 86400 else 0 end,
    superstoryboard.restart_message(way, p_actor, p_generation is not null));
  perform pg_notify('superstoryboard_artifacts', '') where way = 'WRITE_AGAIN';
  return way;
end
$$;

-- Locks jobs in the order of their ids, then claims their storyboards in the order of theirs: one transaction that does so for
-- several never waits for another that waits for it.
create function superstoryboard.claim_boards_of(p_jobs uuid[], p_generation jsonb) returns void
language plpgsql as $$
begin
  perform superstoryboard.lock_job(j.id) from (select distinct id from unnest(p_jobs) as j (id) order by id) j;
  perform superstoryboard.claim_storyboard(b.board, b.writes_as) from (
    select distinct superstoryboard.board_of(j, p_generation) as board, j.writes_as
    from superstoryboard.jobs j where j.id = any (p_jobs) and j.state = 'DEAD_LETTERED' order by 1
  ) b;
end
$$;

-- Redrives dead letters all together or not at all. `refused` names the first that could not be, and `reason` why.
create function superstoryboard.redrive_dead_letters_v1(
  p_jobs uuid[], p_actor text, p_accept_second_payment boolean,
  p_generation jsonb, p_provider text, p_model text, p_warnings text[], out refused uuid, out reason text
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  asked uuid;
begin
  perform superstoryboard.claim_boards_of(p_jobs, p_generation);
  for asked in select distinct id from unnest(p_jobs) as j (id) order by id loop
    reason := coalesce(superstoryboard.redrive_job_v1(
      asked, null, p_actor, array['DEAD_LETTERED'], p_accept_second_payment, p_generation, p_provider, p_model, p_warnings
    ), 'NOT_FOUND');
    if not superstoryboard.is_started(reason) then
      refused := asked;
      raise exception using errcode = 'SB001', message = 'refused';
    end if;
  end loop;
  reason := null;
exception when sqlstate 'SB001' then
  -- Variables keep what they were set to; the rows do not.
  return;
end
$$;

-- Gives a dead letter up. Returns its state before the call, or null where there is none.
create function superstoryboard.discard_dead_letter_v1(p_job uuid, p_actor text) returns text
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  select (l.job).* into job from superstoryboard.lock_job(p_job) l;
  if job.state = 'DEAD_LETTERED' then
    perform superstoryboard.end_job(job, 'CANCELLED', null, null, format('Dead letter discarded by %s', p_actor));
  end if;
  return job.state;
end
$$;

-- Discards dead letters all together or not at all; what was discarded before counts as done.
create function superstoryboard.discard_dead_letters_v1(p_jobs uuid[], p_actor text, out refused uuid, out reason text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  asked uuid;
  state text;
begin
  for asked in select distinct id from unnest(p_jobs) as j (id) order by id loop
    state := superstoryboard.discard_dead_letter_v1(asked, p_actor);
    if state is null or state not in ('DEAD_LETTERED', 'CANCELLED') then
      refused := asked;
      reason := case when state is null then 'NOT_FOUND' else 'JOB_STATE' end;
      raise exception using errcode = 'SB001', message = 'refused';
    end if;
  end loop;
exception when sqlstate 'SB001' then
  return;
end
$$;

-- Stops or allows claiming from a queue. False where there is no such queue.
create function superstoryboard.pause_queue_v1(p_queue text, p_paused boolean, p_actor text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update superstoryboard.queues set paused = p_paused, paused_by = p_actor, paused_at = clock_timestamp()
  where name = p_queue;
  if not found then
    return false;
  end if;
  if not p_paused then
    perform pg_notify('superstoryboard_queue', '');
  end if;
  return true;
end
$$;

-- Dead letters with the calls behind them: those that were or may have been paid, and among them those of unknown outcome.
create view superstoryboard.dead_letters as
select r.*, c.provider_calls, c.unknown_outcomes
from superstoryboard.job_records r
cross join lateral (
  select count(*) filter (where p.state <> 'SETTLED' or p.paid) as provider_calls,
    count(*) filter (where p.state in ('INTENT', 'UNKNOWN')) as unknown_outcomes
  from superstoryboard.provider_calls p where p.job_id = r.id
) c
where r.state = 'DEAD_LETTERED';
