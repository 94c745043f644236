-- Periodic duties. Safe to run twice at once, and stopped by nobody: what another session holds is left for the next sweep.

-- Locks message and job where nobody else holds either. False otherwise, and where the message or its queue is gone.
create function superstoryboard.try_lock_job(p_job uuid) returns boolean
language plpgsql as $$
declare
  unlocked superstoryboard.jobs;
begin
  select * into unlocked from superstoryboard.jobs where id = p_job;
  if not (superstoryboard.try_lock_message(unlocked)).locked then
    return false;
  end if;
  perform from superstoryboard.jobs
  where id = p_job and msg_id = unlocked.msg_id and enqueued_at = unlocked.enqueued_at for update skip locked;
  return found;
exception
  -- The queue was dropped: the duties that go through its messages say so.
  when undefined_table then return false;
end
$$;

-- Takes a step of a duty for each of these ids and counts those that it says it changed. What others hold is left alone.
create function superstoryboard.sweep_each(p_ids uuid[], p_step regproc) returns bigint
language plpgsql as $$
declare
  each uuid;
  changed boolean;
  swept bigint := 0;
begin
  foreach each in array p_ids loop
    begin
      execute format('select %s($1)', p_step) into changed using each;
      swept := swept + changed::integer;
    exception
      when lock_not_available then null;
    end;
  end loop;
  return swept;
end
$$;

-- Cancels a job whose message is gone. False where it is not, or where somebody holds the job.
create function superstoryboard.cancel_if_removed(p_job uuid) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  select * into job from superstoryboard.jobs
  where id = p_job and state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') for update skip locked;
  if job.id is null or superstoryboard.has_message(job) then
    return false;
  end if;
  perform superstoryboard.cancel_removed(job);
  return true;
end
$$;

-- SPEC A9: jobs whose message somebody removed are cancelled.
create function superstoryboard.sweep_removed_messages(p_queue text, p_limit integer) returns bigint
language plpgsql as $$
declare
  gone uuid[];
begin
  execute format(
    'select array(select j.id from superstoryboard.jobs j
     where j.queue = $1 and j.state in (''QUEUED'', ''RUNNING'', ''STAGED'', ''RETRYING'')
       and not exists (select from pgmq.%I m where m.msg_id = j.msg_id and m.enqueued_at = j.enqueued_at)
     limit $2)', 'q_' || p_queue) into gone using p_queue, p_limit;
  return superstoryboard.sweep_each(gone, 'superstoryboard.cancel_if_removed');
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

-- Buries a job of which it is known that it goes on for too long. False where somebody holds it, or it ended meanwhile.
create function superstoryboard.bury_overdue_job(p_job uuid) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  if not superstoryboard.try_lock_job(p_job) then
    return false;
  end if;
  select * into job from superstoryboard.jobs where id = p_job;
  if job.state not in ('QUEUED', 'RUNNING', 'RETRYING') or superstoryboard.is_held(p_job) then
    return false;
  end if;
  perform superstoryboard.bury_due_job(job, jsonb_build_object(
    'class', 'TRANSIENT', 'code', 'MAX_AGE_EXCEEDED', 'message', 'The job reached the maximum age or number of claims'
  ), 'Dead letter: the job reached the maximum age or number of claims');
  return true;
end
$$;

-- Jobs that nothing ends: older than the maximum age since they could first be claimed, whether due or waiting (as at a gate that
-- never opens), or claimed absurdly often since a claim last ended in a wait or a release. Those that a worker holds are left to it.
create function superstoryboard.sweep_overdue_jobs(p_max_age interval, p_max_claims bigint, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.sweep_each(array(select id from (
    (select id from superstoryboard.jobs
     where state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') and state <> 'STAGED' and scheduled_at < now() - p_max_age
     order by scheduled_at limit p_limit)
    union
    (select id from superstoryboard.jobs
     where state in ('QUEUED', 'RUNNING', 'RETRYING') and claim > 5 and claim > p_max_claims
       and claim - orderly_claim > p_max_claims limit p_limit)
  ) overdue), 'superstoryboard.bury_overdue_job');
$$;

-- Buries the job of an artifact that could not be stored for too long. False where somebody holds the job, or it ended meanwhile.
create function superstoryboard.bury_stale_artifact(p_artifact uuid) returns boolean
language plpgsql as $$
declare
  stale record;
begin
  select a.job_id, j.error into stale
  from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id where a.id = p_artifact;
  if not superstoryboard.try_lock_job(stale.job_id) then
    return false;
  end if;
  return superstoryboard.bury_artifact_v1(p_artifact, coalesce(
    stale.error, jsonb_build_object(
      'class', 'UNAVAILABLE_DEPENDENCY', 'code', 'STAGED_MAX_AGE_EXCEEDED', 'message', 'The asset was not stored within the maximum age'
    )), null, null) = 'DEAD_LETTERED';
end
$$;

-- Jobs whose artifact could not be stored within the maximum age: dead letters that keep it, so that a redrive stores it unpaid.
create function superstoryboard.sweep_long_staged(p_max_age interval, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.sweep_each(array(
    select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'STAGED' and a.staged_at < now() - p_max_age and j.state = 'STAGED'
    order by a.staged_at limit p_limit
  ), 'superstoryboard.bury_stale_artifact');
$$;

-- Discards artifacts whose rows the caller has locked. Returns how many. Their leases end too: that of a dead letter's artifact has
-- no end, and would keep it from being cleaned.
create function superstoryboard.discard_artifacts(p_artifacts uuid[]) returns bigint
language plpgsql as $$
declare
  discarded bigint;
begin
  update superstoryboard.artifacts set state = 'DISCARDED', ended_at = clock_timestamp(), lease_until = null
  where id = any (p_artifacts);
  get diagnostics discarded = row_count;
  return discarded;
end
$$;

-- Artifacts of jobs that were cancelled some time ago and not started again: discarded, so that the asset_writer removes them.
create function superstoryboard.sweep_cancelled_artifacts(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.discard_artifacts(array(
    select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'STAGED' and j.state = 'CANCELLED' and j.ended_at < clock_timestamp() - p_older_than
      and a.staged_at < clock_timestamp() - p_older_than
    limit p_limit for update of j, a skip locked
  ));
$$;

-- Uploads that their worker never handed over: discarded, so that the asset_writer removes their objects. What a call may have
-- left in staging is kept as long as its job is open or a dead letter, and for a day where it was cancelled.
create function superstoryboard.sweep_orphaned_uploads(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.discard_artifacts(array(
    select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'UPLOADING' and a.created_at < now() - p_older_than
      and (a.call_id is null and j.claim <> a.claim
        or j.state not in ('QUEUED', 'RUNNING', 'RETRYING') and not (a.call_id is not null and (
          j.state = 'DEAD_LETTERED' or j.state = 'CANCELLED' and j.ended_at > now() - interval '1 day')))
    order by a.created_at limit p_limit for update of j, a skip locked
  ));
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

-- Deletes a job.
create function superstoryboard.delete_job(p_job uuid) returns boolean
language plpgsql as $$
begin
  delete from superstoryboard.jobs where id = p_job;
  return found;
end
$$;

-- Jobs that ended long ago, with their calls, artifacts and events. A row of assets stays: it names the object. So does a job
-- whose artifacts still name objects to be removed. Dead letters wait for a person.
create function superstoryboard.sweep_old_jobs(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.sweep_each(array(
    select j.id from superstoryboard.jobs j
    where j.state in ('SUCCEEDED', 'FAILED', 'CANCELLED') and j.ended_at < now() - p_older_than
      and not exists (select from superstoryboard.artifacts a where a.job_id = j.id and a.cleaned_at is null)
    order by j.ended_at limit p_limit for update of j skip locked
  ), 'superstoryboard.delete_job');
$$;

-- Gives up a dead letter. False where somebody holds it, it is none any more, or its queue was dropped.
create function superstoryboard.discard_old_dead_letter(p_job uuid) returns boolean
language plpgsql as $$
begin
  perform from superstoryboard.jobs where id = p_job and state = 'DEAD_LETTERED' for update skip locked;
  if not found then
    return false;
  end if;
  perform superstoryboard.discard_dead_letter_v1(p_job, 'the sweep');
  return true;
exception
  when undefined_table then return false;
end
$$;

-- Gives up dead letters that nobody looked at for so long; null keeps them for ever. Their objects are removed like those of any
-- cancelled job, and their rows after the age of jobs.
create function superstoryboard.sweep_dead_letters(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  select superstoryboard.sweep_each(array(
    select id from superstoryboard.jobs where state = 'DEAD_LETTERED' and ended_at < now() - p_older_than
    order by ended_at limit p_limit
  ), 'superstoryboard.discard_old_dead_letter');
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
