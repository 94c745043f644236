-- Periodic duties. Safe to run twice at once, and stopped by nobody: what another session holds is left for the next sweep.

-- Locks message and job where nobody else holds either. False otherwise, and where the message or its queue is gone.
create function superstoryboard.try_lock_job(p_job uuid) returns boolean
language plpgsql as $$
declare
  wanted superstoryboard.jobs;
  locked bigint;
begin
  select * into wanted from superstoryboard.jobs where id = p_job;
  execute format('select msg_id from pgmq.%I where msg_id = $1 and enqueued_at = $2 for update skip locked', 'q_' || wanted.queue)
    into locked using wanted.msg_id, wanted.enqueued_at;
  if locked is null then
    return false;
  end if;
  perform from superstoryboard.jobs
  where id = p_job and msg_id = wanted.msg_id and enqueued_at = wanted.enqueued_at for update skip locked;
  return found;
exception
  -- The queue was dropped: the duties that go through its messages say so.
  when undefined_table then return false;
end
$$;

-- Cancels a job whose message is gone. False where it is not, or where somebody holds the job.
create function superstoryboard.cancel_if_removed(p_job uuid) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
  is_there boolean;
begin
  select * into job from superstoryboard.jobs
  where id = p_job and state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') for update skip locked;
  if job.id is null then
    return false;
  end if;
  execute format('select exists (select from pgmq.%I where msg_id = $1 and enqueued_at = $2)', 'q_' || job.queue)
    into is_there using job.msg_id, job.enqueued_at;
  if not is_there then
    perform superstoryboard.cancel_removed(job);
  end if;
  return not is_there;
end
$$;

-- SPEC A9: jobs whose message somebody removed are cancelled.
create function superstoryboard.sweep_removed_messages(p_queue text, p_limit integer) returns bigint
language plpgsql as $$
declare
  gone uuid;
  swept bigint := 0;
begin
  for gone in execute format(
    'select j.id from superstoryboard.jobs j
     where j.queue = $1 and j.state in (''QUEUED'', ''RUNNING'', ''STAGED'', ''RETRYING'')
       and not exists (select from pgmq.%I m where m.msg_id = j.msg_id and m.enqueued_at = j.enqueued_at)
     limit $2', 'q_' || p_queue) using p_queue, p_limit
  loop
    begin
      swept := swept + superstoryboard.cancel_if_removed(gone)::integer;
    exception
      when lock_not_available then null;
    end;
  end loop;
  return swept;
end
$$;

-- SPEC A1: messages without a job get one, so that they are seen before a worker takes them.
create function superstoryboard.sweep_adopt_messages(p_queue text, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.adopt_messages(p_queue, 0, p_limit);
$$;

-- Jobs whose worker stopped: claims look for them too, but a queue without workers is swept.
create function superstoryboard.sweep_expired_leases(p_limit integer) returns bigint
language sql as $$
  select coalesce(sum(superstoryboard.recover_leases(name, p_limit)), 0)::bigint from superstoryboard.queues;
$$;

-- Whether a worker holds the job now: its lease runs.
create function superstoryboard.is_held(p_job uuid) returns boolean
language sql stable as $$
  select exists (select from superstoryboard.turns where job = p_job and due_at is null and lease_until > now());
$$;

-- Jobs that nothing ends: older than the maximum age since they could first be claimed, whether due or waiting (as at a gate that
-- never opens), or claimed absurdly often since a claim last ended in a wait or a release. Those that a worker holds are left to it.
create function superstoryboard.sweep_overdue_jobs(p_max_age interval, p_max_claims bigint, p_limit integer) returns bigint
language plpgsql as $$
declare
  overdue uuid;
  job superstoryboard.jobs;
  swept bigint := 0;
begin
  for overdue in
    (select id from superstoryboard.jobs
     where state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') and state <> 'STAGED' and scheduled_at < now() - p_max_age
     order by scheduled_at limit p_limit)
    union
    (select id from superstoryboard.jobs
     where state in ('QUEUED', 'RUNNING', 'RETRYING') and claim > 5 and claim > p_max_claims
       and claim - orderly_claim > p_max_claims limit p_limit)
  loop
    continue when not superstoryboard.try_lock_job(overdue);
    select * into job from superstoryboard.jobs where id = overdue;
    continue when job.state not in ('QUEUED', 'RUNNING', 'RETRYING') or superstoryboard.is_held(overdue);
    perform superstoryboard.bury_due_job(job, jsonb_build_object(
      'class', 'TRANSIENT', 'code', 'MAX_AGE_EXCEEDED', 'message', 'The job reached the maximum age or number of claims'
    ), 'Dead letter: the job reached the maximum age or number of claims');
    swept := swept + 1;
  end loop;
  return swept;
end
$$;

-- Jobs whose artifact could not be stored within the maximum age: dead letters that keep it, so that a redrive stores it unpaid.
create function superstoryboard.sweep_long_staged(p_max_age interval, p_limit integer) returns bigint
language plpgsql as $$
declare
  stale record;
  swept bigint := 0;
begin
  for stale in
    select a.id, a.job_id, j.error from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'STAGED' and a.staged_at < now() - p_max_age and j.state = 'STAGED'
    order by a.staged_at limit p_limit
  loop
    continue when not superstoryboard.try_lock_job(stale.job_id);
    begin
      swept := swept + (superstoryboard.bury_artifact_v1(stale.id, coalesce(stale.error, jsonb_build_object(
        'class', 'UNAVAILABLE_DEPENDENCY', 'code', 'STAGED_MAX_AGE_EXCEEDED', 'message', 'The asset was not stored within the maximum age'
      ))) = 'DEAD_LETTERED')::integer;
    exception
      when lock_not_available then null;
    end;
  end loop;
  return swept;
end
$$;

-- Uploads that their worker never handed over: discarded, so that the asset_writer removes their objects. What a call may have
-- left in staging is kept as long as its job is open or a dead letter, and for a day where it was cancelled.
create function superstoryboard.sweep_orphaned_uploads(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  with orphaned as (
    select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'UPLOADING' and a.created_at < now() - p_older_than
      and (a.call_id is null and j.claim <> a.claim
        or j.state not in ('QUEUED', 'RUNNING', 'RETRYING') and not (a.call_id is not null and (
          j.state = 'DEAD_LETTERED' or j.state = 'CANCELLED' and j.ended_at > now() - interval '1 day')))
    order by a.created_at limit p_limit for update of j, a skip locked
  ), discarded as (
    update superstoryboard.artifacts a set state = 'DISCARDED', ended_at = clock_timestamp()
    from orphaned where a.id = orphaned.id
    returning a.id
  )
  select count(*) from discarded;
$$;

-- Events of jobs that ended long ago. The oldest come first, by an index: what is younger is not looked at.
create function superstoryboard.sweep_old_events(p_older_than interval, p_limit integer) returns bigint
language sql set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off as $$
  with old as (
    select e.sequence from superstoryboard.job_events e
    where e.created_at < now() - p_older_than
      and (select j.ended_at from superstoryboard.jobs j where j.id = e.job_id) < now() - p_older_than
    order by e.created_at limit p_limit for update of e skip locked
  ), deleted as (
    delete from superstoryboard.job_events e using old where e.sequence = old.sequence returning e.sequence
  )
  select count(*) from deleted;
$$;

-- Jobs that ended long ago, with their calls, artifacts and events. A row of assets stays: it names the object. So does a job
-- whose artifacts still name objects to be removed. Dead letters wait for a person.
create function superstoryboard.sweep_old_jobs(p_older_than interval, p_limit integer) returns bigint
language plpgsql as $$
declare
  old uuid;
  swept bigint := 0;
begin
  for old in
    select j.id from superstoryboard.jobs j
    where j.state in ('SUCCEEDED', 'FAILED', 'CANCELLED') and j.ended_at < now() - p_older_than
      and not exists (select from superstoryboard.artifacts a where a.job_id = j.id and a.cleaned_at is null)
    order by j.ended_at limit p_limit for update of j skip locked
  loop
    begin
      delete from superstoryboard.jobs where id = old;
      swept := swept + 1;
    exception
      when lock_not_available then null;
    end;
  end loop;
  return swept;
end
$$;

-- Gives up dead letters that nobody looked at for so long; null keeps them for ever. Their objects are removed like those of any
-- cancelled job, and their rows after the age of jobs.
create function superstoryboard.sweep_dead_letters(p_older_than interval, p_limit integer) returns bigint
language plpgsql as $$
declare
  old uuid;
  swept bigint := 0;
begin
  for old in
    select id from superstoryboard.jobs where state = 'DEAD_LETTERED' and ended_at < now() - p_older_than
    order by ended_at limit p_limit
  loop
    begin
      perform from superstoryboard.jobs where id = old and state = 'DEAD_LETTERED' for update skip locked;
      if found then
        perform superstoryboard.discard_dead_letter_v1(old, 'the sweep');
        swept := swept + 1;
      end if;
    exception
      when lock_not_available or undefined_table then null;
    end;
  end loop;
  return swept;
end
$$;

-- Messages that were archived long ago.
create function superstoryboard.sweep_archives(p_queue text, p_older_than interval, p_limit integer) returns bigint
language plpgsql as $$
declare
  swept bigint;
begin
  execute format(
    'delete from pgmq.%1$I where ctid = any (array(
       select ctid from pgmq.%1$I where archived_at < now() - $1 order by archived_at limit $2 for update skip locked))',
    'a_' || p_queue) using p_older_than, p_limit;
  get diagnostics swept = row_count;
  return swept;
end
$$;

create type superstoryboard.sweep_limits as (
  max_age interval, max_claims bigint, event_age interval, job_age interval, archive_age interval, dead_letter_age interval
);

-- The duties in the order in which they are run.
create function superstoryboard.sweep_duties_v1() returns setof text
language sql immutable as $$
  values ('cancel_removed'), ('adopt_messages'), ('recover_leases'), ('bury_overdue'), ('bury_staged'), ('discard_uploads'), ('discard_cancelled'),
    ('delete_events'),
    ('discard_dead_letters'), ('delete_jobs'), ('delete_archives');
$$;

-- Runs one duty, in a transaction of its own where the caller can: what it changed, or null where another sweep is at it. A row
-- that another session holds costs it a moment. Of a duty that goes through the queues, `error` says for which of them it failed,
-- as for one that was dropped; the others had their turn.
create function superstoryboard.sweep_duty_v1(
  p_duty text, p_limits superstoryboard.sweep_limits, out changed bigint, out error text
)
language plpgsql set lock_timeout = '20ms' as $$
declare
  q text;
begin
  if not pg_try_advisory_xact_lock(hashtext('superstoryboard.sweep.' || p_duty)) then
    return;
  elsif p_duty not in ('cancel_removed', 'adopt_messages', 'delete_archives') then
    changed := superstoryboard.sweep_at_once(p_duty, p_limits);
    return;
  end if;
  changed := 0;
  for q in select name from superstoryboard.queues order by name loop
    begin
      changed := changed + case p_duty
        when 'cancel_removed' then superstoryboard.sweep_removed_messages(q, 1000)
        when 'adopt_messages' then superstoryboard.sweep_adopt_messages(q, 1000)
        when 'delete_archives' then superstoryboard.sweep_archives(q, p_limits.archive_age, 5000)
      end;
    exception
      when undefined_table then
        error := concat_ws('; ', error, format('%s: the queue is missing (SQLSTATE %s)', q, sqlstate));
      when others then
        error := concat_ws('; ', error, format('%s: SQLSTATE %s', q, sqlstate));
        raise warning 'the duty % failed for %: %', p_duty, q, sqlerrm;
    end;
  end loop;
end
$$;

-- Runs a duty that goes through the jobs of all queues at once.
create function superstoryboard.sweep_at_once(p_duty text, p_limits superstoryboard.sweep_limits) returns bigint
language plpgsql as $$
begin
  return case p_duty
    when 'recover_leases' then superstoryboard.sweep_expired_leases(1000)
    when 'bury_overdue' then superstoryboard.sweep_overdue_jobs(p_limits.max_age, p_limits.max_claims, 1000)
    when 'bury_staged' then superstoryboard.sweep_long_staged(p_limits.max_age, 1000)
    when 'discard_uploads' then superstoryboard.sweep_orphaned_uploads('1 hour', 1000)
    when 'discard_cancelled' then superstoryboard.sweep_cancelled_artifacts('1 day', 1000)
    when 'delete_events' then superstoryboard.sweep_old_events(p_limits.event_age, 5000)
    when 'discard_dead_letters' then superstoryboard.sweep_dead_letters(p_limits.dead_letter_age, 1000)
    when 'delete_jobs' then superstoryboard.sweep_old_jobs(p_limits.job_age, 1000)
  end;
end
$$;

-- Runs every duty once, for those who call SQL only (pg_cron): each with what it changed, or the error that stopped it and nothing
-- else. A duty that another sweep is at is left out. The ages are those of RETENTION_… and JOB_MAX_AGE_DAYS for the other callers.
create function superstoryboard.sweep(
  p_max_age interval default '7 days', p_max_claims bigint default 1000, p_event_age interval default '30 days',
  p_job_age interval default '400 days', p_archive_age interval default '90 days', p_dead_letter_age interval default null
) returns table (duty text, changed bigint, error text)
language plpgsql as $$
begin
  for duty in select superstoryboard.sweep_duties_v1() loop
    begin
      select d.changed, d.error into changed, error from superstoryboard.sweep_duty_v1(
        duty, row(p_max_age, p_max_claims, p_event_age, p_job_age, p_archive_age, p_dead_letter_age)::superstoryboard.sweep_limits) d;
    exception when others then
      changed := null;
      error := format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
    end;
    if error is not null then
      raise warning 'the duty % of the sweep failed: %', duty, error;
    end if;
    if changed is not null or error is not null then
      return next;
    end if;
  end loop;
end
$$;

-- Wakes the workers of a queue, for those who call SQL only (pg_cron).
create function superstoryboard.wake(p_queue text) returns void
language plpgsql as $$
begin
  perform superstoryboard.require_queue(p_queue);
  perform pg_notify('superstoryboard_queue', '');
end
$$;

-- Artifacts whose objects are to be removed: what was discarded, from staging and from its final place, and what was written,
-- from staging. Only those that nobody can be uploading any more. Each is leased for a while to the asset_writer that asks.
create function superstoryboard.claim_cleanups_v1(p_older_than_seconds double precision, p_limit integer)
returns table (id uuid, state text, staging_bucket text, staging_key text, bucket text, path text)
language sql as $$
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
language sql as $$
  update superstoryboard.artifacts set cleaned_at = clock_timestamp(), lease_until = null where id = any (p_artifacts);
$$;

-- The queues as operators see them, also one whose table was dropped. Of several kinds the one that anyone may send.
create function superstoryboard.queue_status_v1() returns table (
  name text, kind text, paused boolean, depth bigint, due bigint, oldest_age_seconds double precision,
  in_flight bigint, staged bigint, dead_lettered bigint
)
language plpgsql as $$
declare
  q superstoryboard.queues;
  present timestamptz := clock_timestamp();
  oldest timestamptz;
  ready bigint;
  late bigint;
  waiting bigint;
  expired bigint;
  held bigint;
begin
  for q in select * from superstoryboard.queues s order by s.name loop
    oldest := null;
    if to_regclass(format('pgmq.%I', 'q_' || q.name)) is not null then
      execute format('select enqueued_at from pgmq.%I order by msg_id limit 1', 'q_' || q.name) into oldest;
    end if;
    select count(*) into ready from superstoryboard.turns t where t.queue = q.name and t.ready;
    select count(*) filter (where t.due_at <= present), count(*) into late, waiting
    from superstoryboard.turns t where t.queue = q.name and not t.ready and t.due_at is not null;
    select count(*) filter (where t.lease_until <= present), count(*) into expired, held
    from superstoryboard.turns t where t.queue = q.name and t.due_at is null;
    name := q.name;
    kind := (select k.name from superstoryboard.job_kinds k where k.queue = q.name order by k.sent_publicly desc, k.name limit 1);
    paused := q.paused;
    depth := ready + waiting + held;
    due := ready + late + expired;
    oldest_age_seconds := extract(epoch from present - oldest);
    in_flight := (select count(*) from superstoryboard.jobs j where j.queue = q.name and j.state = 'RUNNING');
    staged := (select count(*) from superstoryboard.jobs j where j.queue = q.name and j.state = 'STAGED');
    dead_lettered := (select count(*) from superstoryboard.jobs j where j.queue = q.name and j.state = 'DEAD_LETTERED');
    return next;
  end loop;
end
$$;
