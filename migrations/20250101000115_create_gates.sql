-- Gates: limits on submits that the whole fleet shares, per provider and model. The ledger itself is the count of calls; a
-- row of gates closes a model for a time and orders those who submit. A limit of 0 is no limit.

create table superstoryboard.gates (
  provider text,
  model text,
  closed_until timestamptz,
  reason text not null default '',
  primary key (provider, model)
);
comment on table superstoryboard.gates is 'Limits on submits that all workers share.';

create index provider_calls_model_created on superstoryboard.provider_calls (model, created_at);

create type superstoryboard.gate_limits as (per_minute integer, per_day integer, running integer);

-- How many more calls of a model may be sent now, and, where none, for how many seconds not, at most a day: whoever waits asks
-- again then. All parts reckon from the same moment.
create function superstoryboard.gate_room(
  p_provider text, p_model text, p_limits superstoryboard.gate_limits, out room integer, out wait_seconds double precision
)
language plpgsql stable as $$
declare
  present timestamptz := clock_timestamp();
  day_start timestamptz := superstoryboard.quota_day_start();
  closed timestamptz;
  part record;
begin
  room := 1000000;
  wait_seconds := 0;
  select least(closed_until, present + interval '1 day') into closed
  from superstoryboard.gates where provider = p_provider and model = p_model and closed_until > present;
  if found then
    room := 0;
    wait_seconds := extract(epoch from closed - present);
    return;
  end if;
  if p_limits.per_minute > 0 then
    select * into part from superstoryboard.room_of_minute(p_model, p_limits.per_minute, present);
    room := least(room, part.room);
    wait_seconds := greatest(wait_seconds, part.wait_seconds);
  end if;
  if p_limits.per_day > 0 then
    select * into part from superstoryboard.room_of_day(p_model, p_limits.per_day, present, day_start);
    room := least(room, part.room);
    -- The wait for the next day takes the place of that for the minute.
    wait_seconds := coalesce(part.wait_seconds, wait_seconds);
  end if;
  if p_limits.running > 0 then
    select * into part from superstoryboard.room_of_running(p_model, p_limits.running, present);
    room := least(room, part.room);
    wait_seconds := greatest(wait_seconds, part.wait_seconds);
  end if;
  room := greatest(room, 0);
end
$$;

-- What a limit of calls in a minute leaves; `wait_seconds` is null where there is room. The oldest of the last p_limit calls
-- makes room when its minute is over. This one and the next two are inlined: a volatile clock in them would cost that and the index.
create function superstoryboard.room_of_minute(p_model text, p_limit integer, p_present timestamptz)
returns table (room integer, wait_seconds double precision)
language sql stable as $$
  select p_limit - count(*)::integer,
    case when count(*) >= p_limit then 60 - extract(epoch from p_present - min(created_at))::double precision end
  from (
    select created_at from superstoryboard.provider_calls
    where model = p_model and created_at > p_present - interval '1 minute' order by created_at desc limit p_limit
  ) last_calls;
$$;

-- What a limit of calls in a day leaves that began at p_day_start.
create function superstoryboard.room_of_day(p_model text, p_limit integer, p_present timestamptz, p_day_start timestamptz)
returns table (room integer, wait_seconds double precision)
language sql stable as $$
  select p_limit - count(*)::integer,
    case when count(*) >= p_limit then extract(epoch from p_day_start + interval '1 day' - p_present)::double precision end
  from (
    select from superstoryboard.provider_calls where model = p_model and created_at >= p_day_start limit p_limit
  ) calls_of_the_day;
$$;

-- What a limit of calls at once leaves. A call that was sent long ago is no longer counted.
create function superstoryboard.room_of_running(p_model text, p_limit integer, p_present timestamptz)
returns table (room integer, wait_seconds double precision)
language sql stable as $$
  select p_limit - count(*)::integer, case when count(*) >= p_limit then 5::double precision end
  from superstoryboard.provider_calls
  where model = p_model and state in ('INTENT', 'ACCEPTED') and created_at > p_present - interval '15 minutes';
$$;

-- Google's days begin at midnight in California.
create function superstoryboard.quota_day_start() returns timestamptz
language sql stable as $$
  select date_trunc('day', clock_timestamp() at time zone 'America/Los_Angeles') at time zone 'America/Los_Angeles';
$$;

-- Closes a model to submits for some seconds, at most a year; a longer closing stays.
create function superstoryboard.close_gate_v1(p_provider text, p_model text, p_seconds double precision, p_reason text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into superstoryboard.gates as g (provider, model, closed_until, reason)
  values (p_provider, p_model, clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0), 31536000)), p_reason)
  on conflict (provider, model) do update
  set closed_until = excluded.closed_until, reason = excluded.reason
  where g.closed_until is null or g.closed_until < excluded.closed_until;
$$;

-- Passes the gate and records the intent to call, in one transaction, so that no two callers take the last place.
-- `call_id` null with `wait_seconds` 0: the claim is stale, or `refused` says why there may be no more call. `call_id` null with
-- a wait: the gate is closed for so long. `staging_key` is where the answer of an image goes.
create function superstoryboard.open_call_v1(
  p_job uuid, p_claim bigint, p_route text, p_shape text, p_provider text, p_model text, p_call_hash text, p_lease_seconds integer,
  p_limits superstoryboard.gate_limits, p_staging_bucket text,
  out call_id bigint, out wait_seconds double precision, out staging_key text, out refused text
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  passed record;
begin
  perform superstoryboard.lock_job(p_job);
  insert into superstoryboard.gates (provider, model) values (p_provider, p_model) on conflict do nothing;
  perform 1 from superstoryboard.gates where provider = p_provider and model = p_model for update;
  select * into passed from superstoryboard.gate_room(p_provider, p_model, p_limits);
  if passed.room <= 0 and not exists (
    select from superstoryboard.provider_calls where job_id = p_job and claim = p_claim and state = 'INTENT'
  ) then
    wait_seconds := passed.wait_seconds;
    return;
  end if;
  wait_seconds := 0;
  select i.call_id, i.staging_key, i.refused into call_id, staging_key, refused
  from superstoryboard.intend_call_v1(p_job, p_claim, p_route, p_shape, p_model, p_call_hash, p_lease_seconds, p_staging_bucket) i;
end
$$;
