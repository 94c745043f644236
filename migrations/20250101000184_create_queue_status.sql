-- Queues: waking their workers, and how they are.

-- Wakes the workers of a queue, for those who call SQL only (pg_cron).
create function superstoryboard.wake(p_queue text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform superstoryboard.require_queue(p_queue);
  perform pg_notify('superstoryboard_queue', '');
end
$$;

-- How many owners have ready jobs in a queue: one look at the index for each.
create function superstoryboard.waiting_owners(p_queue text) returns bigint
language plpgsql set enable_seqscan to off as $$
declare
  name text;
  found_owners bigint := 0;
begin
  select min(t.owner) into name from superstoryboard.turns t where t.queue = p_queue and t.ready;
  while name is not null loop
    found_owners := found_owners + 1;
    select min(t.owner) into name from superstoryboard.turns t where t.queue = p_queue and t.ready and t.owner > name;
  end loop;
  return found_owners;
end
$$;

-- The queues as operators see them, also one whose table was dropped. Of several kinds the one that anyone may send.
create function superstoryboard.queue_status_v1() returns table (
  name text, kind text, paused boolean, depth bigint, due bigint, oldest_age_seconds double precision,
  in_flight bigint, staged bigint, dead_lettered bigint, waiting_owners bigint
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
    waiting_owners := superstoryboard.waiting_owners(q.name);
    return next;
  end loop;
end
$$;
