-- Claims and leases. Both are rows of superstoryboard.turns; a message is locked before its job and only then changed.

create type superstoryboard.claimed_job as (
  id uuid, kind text, owner text, claim bigint, attempt integer, max_attempts integer, queue text, msg_id bigint,
  generation jsonb, raw_body text, model text, traceparent text,
  call_id bigint, call_route text, call_model text, operation_name text, operation_age_seconds double precision,
  sent_at timestamptz, sent_age_seconds double precision, search_left_seconds double precision,
  upload_id uuid, upload_key text, upload_sha256 text
);

-- Takes up to p_quantity due jobs of p_kinds, which the worker serves; it leaves others alone. What is already paid comes first, without a place at the gate and also from a paused queue;
-- of the others only those whose model's gate has room are looked at. Nothing new is taken while the asset_writer is far behind.
-- A job without a model counts as one of p_model. What the caller still holds (p_held) is never claimed anew, however long the
-- database was away: its lease is renewed instead. A claim that finds nothing looks for jobs whose worker stopped and for
-- messages without a job, and then once more.
create function superstoryboard.claim_jobs_v1(
  p_queue text, p_kinds text[], p_worker text, p_quantity integer, p_lease_seconds integer, p_force boolean, p_provider text,
  p_model text, p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  paid integer;
  others integer;
begin
  perform superstoryboard.check_queue(p_queue);
  return query select * from superstoryboard.claim_paid(p_queue, p_kinds, p_worker, p_quantity, p_lease_seconds, p_held);
  get diagnostics paid = row_count;
  if paid >= p_quantity or not (p_force or superstoryboard.takes_new(p_queue)) then
    return;
  end if;
  perform superstoryboard.ready_turns(p_queue);
  if not superstoryboard.adopts_at_insert(p_queue) then
    perform superstoryboard.adopt_new_messages(p_queue);
  end if;
  return query select * from superstoryboard.claim_ready(
    p_queue, p_kinds, p_worker, p_quantity - paid, p_lease_seconds, p_provider, p_model, p_limits, p_held);
  get diagnostics others = row_count;
  if paid + others = 0 and superstoryboard.recover_leases(p_queue, 100) + superstoryboard.adopt_new_messages(p_queue) > 0 then
    return query select * from superstoryboard.claim_ready(
      p_queue, p_kinds, p_worker, p_quantity, p_lease_seconds, p_provider, p_model, p_limits, p_held);
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
  p_queue text, p_kinds text[], p_worker text, p_quantity integer, p_lease_seconds integer, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql set enable_seqscan to off as $$
declare
  present timestamptz := clock_timestamp();
  candidate uuid;
  claimed superstoryboard.claimed_job;
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
    where t.queue = p_queue and t.kind = any (p_kinds) and (t.due_at <= present or t.due_at is null and t.lease_until <= present)
    order by c.since
  loop
    exit when remaining <= 0;
    claimed := superstoryboard.claim_candidate(candidate, p_worker, p_lease_seconds, p_held);
    if claimed.id is not null then
      remaining := remaining - 1;
      return next claimed;
    end if;
  end loop;
end
$$;

-- Kind and model of the ready jobs, the gate that each passes and the room there. A job without a model passes that of p_model, and one
-- whose kind is not charged none.
create function superstoryboard.ready_gates(
  p_queue text, p_kinds text[], p_quantity integer, p_provider text, p_model text, p_limits superstoryboard.gate_limits,
  out kinds text[], out models text[], out gates text[], out rooms integer[]
)
language plpgsql set enable_seqscan to off as $$
declare
  served text;
  next_model text;
  gate text;
begin
  kinds := '{}';
  models := '{}';
  gates := '{}';
  rooms := '{}';
  foreach served in array p_kinds loop
    select min(t.model) into next_model from superstoryboard.turns t where t.queue = p_queue and t.kind = served and t.ready;
    while next_model is not null loop
      gate := coalesce(nullif(next_model, ''), p_model);
      kinds := kinds || served;
      models := models || next_model;
      gates := gates || gate;
      rooms := rooms || case next_model when '-' then p_quantity else (superstoryboard.gate_room(p_provider, gate, p_limits)).room end;
      select min(t.model) into next_model from superstoryboard.turns t
      where t.queue = p_queue and t.kind = served and t.ready and t.model > next_model;
    end loop;
  end loop;
end
$$;

-- The first ready job of all kinds and models with room: place is that of its model. Those up to (p_turns, p_jobs) of a model were looked at.
-- A model more than a turn behind the queue, as after its gate was closed, takes every other claim: its backlog holds up nobody else.
create function superstoryboard.next_ready(
  p_queue text, p_kinds text[], p_models text[], p_rooms integer[], p_turns double precision[], p_jobs uuid[],
  p_queue_turn double precision,
  out place bigint, out turn double precision, out job uuid
)
language plpgsql set enable_seqscan to off as $$
begin
  select m.place, n.turn, n.job into place, turn, job
  from unnest(p_kinds, p_models, p_rooms, p_turns, p_jobs) with ordinality as m (kind, model, room, turn, job, place)
  cross join lateral (
    select t.turn, t.job from superstoryboard.turns t
    where t.queue = p_queue and t.kind = m.kind and t.model = m.model and t.ready and (t.turn, t.job) > (m.turn, m.job)
    order by t.turn, t.job limit 1
  ) n
  where m.room > 0
  order by case when n.turn < p_queue_turn - 1 then p_queue_turn + 2 * random() else n.turn end, n.job limit 1;
end
$$;

-- Claims a job by a turn: the best ready job of the owner, kind and model whose turn it is, by priority, then rank. Where that is not the
-- job that had the turn, the two swap. A turn that another claim uses, or that was moved since it was read, is left to it.
-- Jobs in `tried` were looked at in vain; one that is locked, or that another claim was faster to take, is passed by.
create function superstoryboard.claim_turn(
  p_job uuid, p_turn double precision, p_worker text, p_lease_seconds integer, p_held uuid[],
  inout tried uuid[], out claimed superstoryboard.claimed_job
)
language plpgsql set enable_seqscan to off as $$
declare
  own superstoryboard.turns;
  best superstoryboard.turns;
begin
  select * into own from superstoryboard.turns t where t.job = p_job and t.ready and t.turn = p_turn for update skip locked;
  for look in 1..100 loop
    select * into best from superstoryboard.turns t
    where t.queue = own.queue and t.kind = own.kind and t.model = own.model and t.owner = own.owner and t.ready and t.job <> all (tried)
    order by t.priority, t.rank, t.job limit 1 for update skip locked;
    exit when best.job is null;
    tried := tried || best.job;
    claimed := superstoryboard.claim_candidate(best.job, p_worker, p_lease_seconds, p_held);
    if claimed.id is not null and best.turn > own.turn then
      update superstoryboard.turns set turn = case job when own.job then best.turn else own.turn end
      where job in (own.job, best.job);
    end if;
    exit when claimed.id is not null;
  end loop;
end
$$;

-- Claims ready jobs in their turn, over all models whose gate has room. Turns are read without locks, one after the other.
create function superstoryboard.claim_ready(
  p_queue text, p_kinds text[], p_worker text, p_quantity integer, p_lease_seconds integer, p_provider text, p_model text,
  p_limits superstoryboard.gate_limits, p_held uuid[]
) returns setof superstoryboard.claimed_job
language plpgsql as $$
declare
  ready record;
  rooms integer[];
  turns double precision[];
  jobs uuid[];
  next record;
  claim record;
  tried uuid[] := '{}';
  latest double precision := (select turn from superstoryboard.queue_turns where queue = p_queue);
  remaining integer := p_quantity;
  -- Many that are locked, or that are buried on the way, are left to the next claim.
  deadline timestamptz := clock_timestamp() + interval '2 seconds';
begin
  select * into ready from superstoryboard.ready_gates(p_queue, p_kinds, p_quantity, p_provider, p_model, p_limits);
  rooms := ready.rooms;
  turns := array_fill('-infinity'::double precision, array[cardinality(rooms)]);
  jobs := array_fill('00000000-0000-0000-0000-000000000000'::uuid, array[cardinality(rooms)]);
  while remaining > 0 and clock_timestamp() < deadline loop
    select * into next from superstoryboard.next_ready(p_queue, ready.kinds, ready.models, rooms, turns, jobs, latest);
    exit when next.job is null;
    turns[next.place] := next.turn;
    jobs[next.place] := next.job;
    select * into claim from superstoryboard.claim_turn(next.job, next.turn, p_worker, p_lease_seconds, p_held, tried);
    tried := claim.tried;
    if (claim.claimed).id is not null then
      remaining := remaining - 1;
      latest := greatest(latest, next.turn);
      rooms := superstoryboard.less_room(rooms, ready.gates, ready.gates[next.place]);
      return next claim.claimed;
    end if;
  end loop;
  perform superstoryboard.pass_turn(p_queue, latest) where remaining < p_quantity;
end
$$;

-- The rooms of gates after a call of one of them.
create function superstoryboard.less_room(p_rooms integer[], p_gates text[], p_gate text) returns integer[]
language sql immutable as $$
  select array(
    select g.room - (g.gate = p_gate)::integer from unnest(p_rooms, p_gates) with ordinality as g (room, gate, place) order by g.place);
$$;
