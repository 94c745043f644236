-- Small functions that the transitions share.

-- UUIDv7 (RFC 9562): milliseconds, then the fraction of the millisecond, so that ids of one process rise.
create function superstoryboard.uuid_v7() returns uuid
language sql volatile as $$
  with t as (select extract(epoch from clock_timestamp()) * 1000 as ms)
  select encode(
    set_byte(set_byte(
      substring(int8send(floor(ms)::bigint) from 3 for 6)
        || int2send((28672 + floor((ms - floor(ms)) * 4096))::int::smallint)
        || substring(uuid_send(gen_random_uuid()) from 9 for 8),
      8, (get_byte(uuid_send(gen_random_uuid()), 0) & 63) | 128), 9, get_byte(uuid_send(gen_random_uuid()), 1)),
    'hex')::uuid
  from t;
$$;

-- At most one notification per channel and 20 ms. A sequence keeps the time: no row lock, and listeners look again after the gap.
create sequence superstoryboard.notified_queue minvalue 0 start 0;
create sequence superstoryboard.notified_events minvalue 0 start 0;
create function superstoryboard.notify_throttled(p_throttle regclass, p_channel text, p_payload text) returns void
language plpgsql as $$
declare
  last_ms bigint;
  now_ms bigint := floor(extract(epoch from clock_timestamp()) * 1000);
begin
  execute format('select last_value from %s', p_throttle) into last_ms;
  if now_ms - last_ms >= 20 or last_ms > now_ms then
    perform setval(p_throttle, now_ms);
    perform pg_notify(p_channel, p_payload);
  end if;
end
$$;

create function superstoryboard.notify_queue() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform superstoryboard.notify_throttled('superstoryboard.notified_queue', 'superstoryboard_queue', '');
  return null;
end
$$;

create function superstoryboard.emit_event(p_job superstoryboard.jobs, p_message text) returns void
language plpgsql as $$
begin
  insert into superstoryboard.job_events (job_id, owner, storyboard_id, state, attempt, progress_percent, message)
  values (p_job.id, p_job.owner, p_job.storyboard_id, p_job.state, p_job.attempt, p_job.progress_percent, p_message);
  perform superstoryboard.notify_throttled('superstoryboard.notified_events', 'superstoryboard_events', '');
end
$$;

-- Lock order everywhere: queue message, job, calls, artifacts, entity link, kv rows. False where the message was removed.
create function superstoryboard.lock_message(p_queue text, p_msg_id bigint, p_enqueued_at timestamptz) returns boolean
language plpgsql as $$
declare
  found_id bigint;
begin
  execute format('select msg_id from pgmq.%I where msg_id = $1 and enqueued_at = $2 for update', 'q_' || p_queue)
    into found_id using p_msg_id, p_enqueued_at;
  return found_id is not null;
end
$$;

-- Locks message and job. `message_found` is false where somebody removed the message.
create function superstoryboard.lock_job(p_job uuid, out job superstoryboard.jobs, out message_found boolean)
language plpgsql as $$
declare
  unlocked superstoryboard.jobs;
begin
  -- A redrive gives the job another message: look again until the locked message is still the job's own.
  loop
    select * into unlocked from superstoryboard.jobs where id = p_job;
    if unlocked.id is null then
      message_found := false;
      return;
    end if;
    message_found := superstoryboard.lock_message(unlocked.queue, unlocked.msg_id, unlocked.enqueued_at);
    select * into job from superstoryboard.jobs where id = p_job for update;
    exit when (job.msg_id, job.enqueued_at) is not distinct from (unlocked.msg_id, unlocked.enqueued_at);
  end loop;
end
$$;

-- Locks the calls of a job, before its artifacts are locked: who settles a call holds no lock on the job.
create function superstoryboard.lock_calls(p_job uuid) returns void
language plpgsql as $$
begin
  perform from superstoryboard.provider_calls where job_id = p_job order by id for update;
end
$$;

-- Sets when a job may be claimed next; nobody holds it until then. Whoever looks at its message sees it come back then.
create function superstoryboard.set_due(p_job superstoryboard.jobs, p_delay_seconds integer) returns void
language plpgsql as $$
begin
  perform superstoryboard.open_turn(p_job, p_delay_seconds);
  perform pgmq.set_vt(p_job.queue, p_job.msg_id, p_delay_seconds);
end
$$;

-- Takes a job out of the claims and hides its message for a day: it is staged, and the asset_writer has it.
create function superstoryboard.hide_job(p_job superstoryboard.jobs) returns void
language plpgsql as $$
begin
  update superstoryboard.turns set due_at = null, ready = false, lease_until = null, claim = null where job = p_job.id;
  perform pgmq.set_vt(p_job.queue, p_job.msg_id, 86400);
end
$$;

-- Takes the message out of the queue: archived, or deleted where the installation says so.
create function superstoryboard.complete_message(p_queue text, p_msg_id bigint, p_completion text) returns void
language plpgsql as $$
begin
  if p_completion = 'delete' then
    perform pgmq.delete(p_queue, p_msg_id);
  else
    perform pgmq.archive(p_queue, p_msg_id);
  end if;
end
$$;

-- Ends a locked job in a terminal state other than SUCCEEDED and takes its message away. What it has in staging stays there for
-- a while, so that the job can be started again without paying again.
create function superstoryboard.end_job(
  p_job superstoryboard.jobs, p_state text, p_error jsonb, p_warning text, p_message text
) returns void
language plpgsql as $$
declare
  ended superstoryboard.jobs;
begin
  update superstoryboard.jobs
  set state = p_state, error = coalesce(p_error, error), ended_at = clock_timestamp(),
      warnings = case when p_warning is null then warnings else array_append(warnings, p_warning) end
  where id = p_job.id
  returning * into ended;
  perform superstoryboard.complete_message(p_job.queue, p_job.msg_id, 'archive')
  where superstoryboard.lock_message(p_job.queue, p_job.msg_id, p_job.enqueued_at);
  perform superstoryboard.emit_event(ended, p_message);
end
$$;

-- SPEC A9: a message that somebody removed means the job is not wanted.
create function superstoryboard.cancel_removed(p_job superstoryboard.jobs) returns void
language sql as $$
  select superstoryboard.end_job(p_job, 'CANCELLED', null, 'message removed', 'Cancelled: the queue message was removed');
$$;
