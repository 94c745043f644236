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
language plpgsql as $$
declare
  q record;
  message record;
  adopted superstoryboard.jobs;
  swept bigint := 0;
begin
  for q in select name from superstoryboard.queues loop
    for message in execute format(
      'select m.msg_id, m.enqueued_at, m.message from pgmq.%I m
       where not exists (select from superstoryboard.jobs j
         where j.queue = $1 and j.msg_id = m.msg_id and j.enqueued_at = m.enqueued_at)
       order by m.msg_id limit $2 for update of m skip locked', 'q_' || q.name) using q.name, p_limit
    loop
      adopted := superstoryboard.adopt_message_v1(q.name, message.msg_id, message.enqueued_at, message.message, 'sql');
      swept := swept + (adopted.id is not null)::integer;
    end loop;
  end loop;
  return swept;
end
$$;

-- Runs every duty once and counts what it changed. A second sweep at the same time finds the lock taken and does nothing.
create function superstoryboard.sweep() returns table (duty text, changed bigint)
language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(hashtext('superstoryboard.sweep')) then
    return;
  end if;
  return query select 'cancel_removed', superstoryboard.sweep_removed_messages(1000);
  return query select 'adopt_messages', superstoryboard.sweep_adopt_messages(1000);
end
$$;

-- The queues as operators see them.
create function superstoryboard.queue_status_v1() returns table (
  name text, kind text, paused boolean, depth bigint, due bigint, oldest_age_seconds double precision,
  in_flight bigint, staged bigint, dead_lettered bigint
)
language plpgsql as $$
#variable_conflict use_column
declare
  q superstoryboard.queues;
begin
  for q in select * from superstoryboard.queues order by name loop
    return query execute format(
      'select $1.name, $1.kind, $1.paused, m.depth, m.due, m.age, j.running, j.staged, j.dead
       from (select count(*) as depth, count(*) filter (where vt <= clock_timestamp()) as due,
               extract(epoch from clock_timestamp() - min(enqueued_at))::double precision as age from pgmq.%I) m,
            (select count(*) filter (where state = ''RUNNING'') as running, count(*) filter (where state = ''STAGED'') as staged,
               count(*) filter (where state = ''DEAD_LETTERED'') as dead
             from superstoryboard.jobs where queue = $1.name
               and state in (''QUEUED'', ''RUNNING'', ''STAGED'', ''RETRYING'', ''DEAD_LETTERED'')) j',
      'q_' || q.name) using q;
  end loop;
end
$$;
