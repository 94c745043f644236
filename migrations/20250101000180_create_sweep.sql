-- Periodic duties. Safe to run twice at once: each duty works on what it can lock.

-- SPEC A9: jobs whose message somebody removed are cancelled.
create function superstoryboard.sweep_removed_messages(p_limit integer) returns bigint
language plpgsql as $$
declare
  q record;
  gone uuid;
  locked record;
  swept bigint := 0;
begin
  for q in select name from superstoryboard.queues loop
    for gone in execute format(
      'select j.id from superstoryboard.jobs j
       where j.queue = $1 and j.state in (''QUEUED'', ''RUNNING'', ''STAGED'', ''RETRYING'')
         and not exists (select from pgmq.%I m where m.msg_id = j.msg_id and m.enqueued_at = j.enqueued_at)
       limit $2', 'q_' || q.name) using q.name, p_limit
    loop
      select * into locked from superstoryboard.lock_job(gone);
      if not locked.message_found and (locked.job).state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') then
        perform superstoryboard.cancel_removed(locked.job);
        swept := swept + 1;
      end if;
    end loop;
  end loop;
  return swept;
end
$$;

-- SPEC A1: messages without a job get one, so that they are seen before a worker takes them.
create function superstoryboard.sweep_adopt_messages(p_limit integer) returns bigint
language sql as $$
  select coalesce(sum(superstoryboard.adopt_messages(name, 0, p_limit)), 0)::bigint from superstoryboard.queues;
$$;

-- Jobs whose worker stopped: claims look for them too, but a queue without workers is swept.
create function superstoryboard.sweep_expired_leases(p_limit integer) returns bigint
language sql as $$
  select coalesce(sum(superstoryboard.recover_leases(name, p_limit)), 0)::bigint from superstoryboard.queues;
$$;

-- Jobs that nothing ends: waiting longer than the maximum age, or claimed absurdly often. Those that a worker holds or that
-- are not due are left to their time.
create function superstoryboard.sweep_overdue_jobs(p_max_age interval, p_max_claims bigint, p_limit integer) returns bigint
language plpgsql as $$
declare
  q record;
  overdue uuid;
  locked record;
  swept bigint := 0;
begin
  for q in select name from superstoryboard.queues loop
    for overdue in
      select j.id from superstoryboard.turns t join superstoryboard.jobs j on j.id = t.job
      where t.queue = q.name and j.state in ('QUEUED', 'RUNNING', 'RETRYING')
        and (t.due_at <= now() or t.due_at is null and t.lease_until <= now())
        and (j.scheduled_at < now() - p_max_age or j.claim > p_max_claims)
      limit p_limit
    loop
      select * into locked from superstoryboard.lock_job(overdue);
      if locked.message_found and (locked.job).state in ('QUEUED', 'RUNNING', 'RETRYING') then
        perform superstoryboard.bury_due_job(locked.job, jsonb_build_object(
          'class', 'TRANSIENT', 'code', 'MAX_AGE', 'message', 'The job did not end within the maximum age'
        ), 'Dead letter: it did not end within the maximum age');
        swept := swept + 1;
      end if;
    end loop;
  end loop;
  return swept;
end
$$;

-- Uploads that their worker never handed over: discarded, so that the asset_writer removes their objects. What a call may have
-- left in staging is looked for as long as its job is open.
create function superstoryboard.sweep_orphaned_uploads(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  with orphaned as (
    select a.id from superstoryboard.artifacts a join superstoryboard.jobs j on j.id = a.job_id
    where a.state = 'UPLOADING' and a.created_at < clock_timestamp() - p_older_than
      and (a.call_id is null and j.claim <> a.claim or j.state not in ('QUEUED', 'RUNNING', 'RETRYING'))
    limit p_limit for update of a skip locked
  ), discarded as (
    update superstoryboard.artifacts a set state = 'DISCARDED', ended_at = clock_timestamp()
    from orphaned where a.id = orphaned.id
    returning a.id
  )
  select count(*) from discarded;
$$;

-- Events of jobs that ended long ago.
create function superstoryboard.sweep_old_events(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  with old as (
    select e.sequence from superstoryboard.job_events e join superstoryboard.jobs j on j.id = e.job_id
    where e.created_at < clock_timestamp() - p_older_than and j.ended_at < clock_timestamp() - p_older_than
    order by e.sequence limit p_limit
  ), deleted as (
    delete from superstoryboard.job_events e using old where e.sequence = old.sequence returning e.sequence
  )
  select count(*) from deleted;
$$;

-- Jobs that ended long ago, with their calls, artifacts and asset rows. Dead letters wait for a person, however long.
create function superstoryboard.sweep_old_jobs(p_older_than interval, p_limit integer) returns bigint
language sql as $$
  with old as (
    select id from superstoryboard.jobs
    where state in ('SUCCEEDED', 'FAILED', 'CANCELLED') and ended_at < clock_timestamp() - p_older_than
    limit p_limit for update skip locked
  ), deleted as (
    delete from superstoryboard.jobs j using old where j.id = old.id returning j.id
  )
  select count(*) from deleted;
$$;

-- Runs every duty once and counts what it changed. A second sweep at the same time finds the lock taken and does nothing.
create function superstoryboard.sweep(
  p_max_age interval default '7 days', p_max_claims bigint default 1000, p_event_age interval default '30 days',
  p_job_age interval default '400 days'
) returns table (duty text, changed bigint)
language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(hashtext('superstoryboard.sweep')) then
    return;
  end if;
  return query select 'cancel_removed', superstoryboard.sweep_removed_messages(1000);
  return query select 'adopt_messages', superstoryboard.sweep_adopt_messages(1000);
  return query select 'recover_leases', superstoryboard.sweep_expired_leases(1000);
  return query select 'bury_overdue', superstoryboard.sweep_overdue_jobs(p_max_age, p_max_claims, 1000);
  return query select 'discard_uploads', superstoryboard.sweep_orphaned_uploads('1 hour', 1000);
  return query select 'discard_cancelled', superstoryboard.sweep_cancelled_artifacts('1 day', 1000);
  return query select 'delete_events', superstoryboard.sweep_old_events(p_event_age, 5000);
  return query select 'delete_jobs', superstoryboard.sweep_old_jobs(p_job_age, 1000);
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
      and a.ended_at < clock_timestamp() - make_interval(secs => p_older_than_seconds)
      and (a.lease_until is null or a.lease_until <= clock_timestamp())
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

-- The queues as operators see them.
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
    execute format('select enqueued_at from pgmq.%I order by msg_id limit 1', 'q_' || q.name) into oldest;
    select count(*) into ready from superstoryboard.turns t where t.queue = q.name and t.ready;
    select count(*) filter (where t.due_at <= present), count(*) into late, waiting
    from superstoryboard.turns t where t.queue = q.name and not t.ready and t.due_at is not null;
    select count(*) filter (where t.lease_until <= present), count(*) into expired, held
    from superstoryboard.turns t where t.queue = q.name and t.due_at is null;
    name := q.name;
    kind := q.kind;
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
