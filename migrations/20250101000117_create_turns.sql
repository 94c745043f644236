-- Turns: when each open job may be claimed and who holds it. Claims, heartbeats and the number that workers scale on read this
-- narrow table; the visibility timeout of the queue message is only copied from it, so that whoever previews messages or moves
-- their visibility delays and wakes nothing.

create table superstoryboard.turns (
  job uuid primary key,
  queue text not null,
  kind text not null,
  model text not null,
  owner text not null,
  priority integer not null default 0 check (priority between -1 and 1),
  rank bigint not null,
  due_at timestamptz,
  lease_until timestamptz,
  claim bigint,
  ready boolean not null default false,
  turn double precision not null default 0,
  check (not ready or due_at is not null)
) with (
  fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
  autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
comment on table superstoryboard.turns is
  'One row per open job: waiting (due_at), ready to be claimed (ready), held by a worker (claim, lease_until), or staged (neither).';
comment on column superstoryboard.turns.model is 'Model whose gate the job passes; empty until the body of an adopted message was read, - where its kind is not charged.';
comment on column superstoryboard.turns.priority is 'Which of the ready jobs of its owner goes first: -1 INTERACTIVE, 0 NORMAL, 1 BATCH; among equals the lower rank.';
comment on column superstoryboard.turns.due_at is 'When the job may be claimed; null while it is held or staged.';
comment on column superstoryboard.turns.claim is
  'The claim that holds the job. It stays after the lease ran out, so that its holder may still extend it until another claims the job.';
comment on column superstoryboard.turns.turn is
  'Ready jobs are claimed in this order, save that the turn goes to the best ready job of its owner and model. 0 until the job was ready once.';

-- No index holds lease_until or claim: a heartbeat changes nothing else, so its update stays on the page (HOT).
create index turns_ready on superstoryboard.turns (queue, kind, model, turn, job) where ready;
create index turns_waiting on superstoryboard.turns (queue, due_at) where not ready and due_at is not null;
create index turns_waiting_owners on superstoryboard.turns (queue, owner, due_at) where not ready and due_at is not null;
create index turns_held on superstoryboard.turns (queue) where due_at is null;
create index turns_best on superstoryboard.turns (queue, kind, model, owner, priority, rank, job) where ready;
create index turns_last on superstoryboard.turns (queue, owner, turn) where ready;
create index turns_open on superstoryboard.turns (owner, kind);

-- Under which model a job is claimed: '-' where its kind is not charged, so that it passes no gate.
create function superstoryboard.turn_model(p_job superstoryboard.jobs) returns text
language sql stable as $$
  select case
    when p_job.model = '' and not (select charged from superstoryboard.job_kinds where name = p_job.kind) then '-'
    else p_job.model
  end;
$$;

-- Gives an open job its row: due after the delay, or neither due nor held where the job is staged. Nobody holds it. One that is
-- due at once and had a turn keeps it, as it was given back; a new one gets its turn here, unless another transaction places jobs
-- of its owner: then the next claim gives it one.
create function superstoryboard.open_turn(p_job superstoryboard.jobs, p_delay_seconds double precision) returns void
language plpgsql as $$
declare
  due timestamptz := case when p_job.state <> 'STAGED' then clock_timestamp() + make_interval(secs => greatest(p_delay_seconds, 0)) end;
  place double precision;
begin
  if due is not null and p_delay_seconds <= 0 then
    select t.turn into place from superstoryboard.turns t where t.job = p_job.id;
    if not found and superstoryboard.may_place(p_job.queue, p_job.owner) then
      place := superstoryboard.last_turn(p_job.queue, p_job.owner) + superstoryboard.turn_length(p_job.owner);
    end if;
  end if;
  insert into superstoryboard.turns as t (job, queue, kind, model, owner, priority, rank, due_at, ready, turn)
  values (p_job.id, p_job.queue, p_job.kind, superstoryboard.turn_model(p_job), p_job.owner, p_job.priority, p_job.rank, due,
    place is not null, coalesce(place, 0))
  on conflict (job) do update
  set queue = excluded.queue, model = excluded.model, due_at = excluded.due_at, ready = excluded.ready, rank = excluded.rank,
      lease_until = null, claim = null;
end
$$;

-- A job that ends, whatever ended it, leaves the claims, with what it may have paid for and not brought home.
create function superstoryboard.close_turn() returns trigger
language plpgsql as $$
begin
  delete from superstoryboard.turns where job = new.id;
  if new.state <> 'SUCCEEDED' and new.claim > 0 then
    update superstoryboard.provider_calls set parked = true
    where job_id = new.id and state in ('INTENT', 'ACCEPTED', 'UNKNOWN') and not parked;
    update superstoryboard.artifacts set parked = true where job_id = new.id and state = 'UPLOADING' and not parked;
  end if;
  return null;
end
$$;
create trigger jobs_close_turn after update of state on superstoryboard.jobs
  for each row when (old.state is distinct from new.state and new.state in ('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED'))
  execute function superstoryboard.close_turn();

-- An open job whose row is removed by hand takes its message with it: adopted anew, the message would be paid for a second time.
create function superstoryboard.archive_message() returns trigger
language plpgsql as $$
begin
  delete from superstoryboard.turns where job = old.id;
  perform superstoryboard.complete_message(old.queue, old.msg_id, 'archive')
  where superstoryboard.lock_message(old.queue, old.msg_id, old.enqueued_at);
  return null;
end
$$;
create trigger jobs_archive_message after delete on superstoryboard.jobs
  for each row when (old.state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING')) execute function superstoryboard.archive_message();

create function superstoryboard.archive_messages() returns trigger
language plpgsql as $$
begin
  delete from superstoryboard.turns;
  perform superstoryboard.complete_message(j.queue, j.msg_id, 'archive') from superstoryboard.jobs j
  where j.state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING') and superstoryboard.lock_message(j.queue, j.msg_id, j.enqueued_at);
  return null;
end
$$;
create trigger jobs_archive_messages before truncate on superstoryboard.jobs
  for each statement execute function superstoryboard.archive_messages();

-- The place of a message in the order of its queue's sends: the queue numbers its messages when they are inserted, whatever the
-- clock says and however long the transaction lasts. A queue that was dropped and created numbers from 1 again, and counts as the
-- next incarnation.
create function superstoryboard.rank_of(p_queue text, p_msg_id bigint) returns bigint
language plpgsql as $$
declare
  present oid := to_regclass(format('pgmq.%I', 'q_' || p_queue));
  q superstoryboard.queues;
begin
  select * into q from superstoryboard.queues where name = p_queue;
  if q.queue_table is distinct from present then
    update superstoryboard.queues
    set incarnation = incarnation + (queue_table is not null)::integer, queue_table = present, adopted_msg_id = 0
    where name = p_queue and queue_table is distinct from present;
    select * into q from superstoryboard.queues where name = p_queue;
  end if;
  return (q.incarnation << 40) + p_msg_id;
end
$$;
