-- Gates: limits on submits that the whole fleet shares, per provider and model. The ledger itself is the count of calls; a
-- row of gates closes a model for a time and orders those who submit. A limit of 0 is no limit.

create index provider_calls_model_created on superstoryboard.provider_calls (model, created_at);

create type superstoryboard.gate_limits as (per_minute integer, per_day integer, running integer);

-- How many more calls of a model may be sent now, and, where none, for how many seconds not.
create function superstoryboard.gate_room(
  p_provider text, p_model text, p_limits superstoryboard.gate_limits, out room integer, out wait_seconds double precision
)
language plpgsql stable as $$
declare
  closed timestamptz;
  calls integer;
  first_call timestamptz;
begin
  room := 1000000;
  wait_seconds := 0;
  select closed_until into closed from superstoryboard.gates where provider = p_provider and model = p_model;
  if closed > clock_timestamp() then
    room := 0;
    wait_seconds := extract(epoch from closed - clock_timestamp());
    return;
  end if;
  if p_limits.per_minute > 0 then
    select count(*), min(created_at) into calls, first_call from superstoryboard.provider_calls
    where model = p_model and created_at > clock_timestamp() - interval '1 minute';
    room := least(room, p_limits.per_minute - calls);
    if calls >= p_limits.per_minute then
      wait_seconds := greatest(wait_seconds, 60 - extract(epoch from clock_timestamp() - first_call));
    end if;
  end if;
  if p_limits.per_day > 0 then
    select count(*) into calls from superstoryboard.provider_calls
    where model = p_model and created_at >= superstoryboard.quota_day_start();
    room := least(room, p_limits.per_day - calls);
    if calls >= p_limits.per_day then
      wait_seconds := extract(epoch from superstoryboard.quota_day_start() + interval '1 day' - clock_timestamp());
    end if;
  end if;
  if p_limits.running > 0 then
    select count(*) into calls from superstoryboard.provider_calls
    where model = p_model and state in ('INTENT', 'ACCEPTED') and created_at > clock_timestamp() - interval '15 minutes';
    room := least(room, p_limits.running - calls);
    if calls >= p_limits.running then
      wait_seconds := greatest(wait_seconds, 5);
    end if;
  end if;
  room := greatest(room, 0);
end
$$;

-- Google's days begin at midnight in California.
create function superstoryboard.quota_day_start() returns timestamptz
language sql stable as $$
  select date_trunc('day', clock_timestamp() at time zone 'America/Los_Angeles') at time zone 'America/Los_Angeles';
$$;

-- Closes a model to submits for some seconds; a longer closing stays.
create function superstoryboard.close_gate_v1(p_provider text, p_model text, p_seconds double precision, p_reason text)
returns void
language sql as $$
  insert into superstoryboard.gates as g (provider, model, closed_until, reason)
  values (p_provider, p_model, clock_timestamp() + make_interval(secs => p_seconds), p_reason)
  on conflict (provider, model) do update
  set closed_until = excluded.closed_until, reason = excluded.reason
  where g.closed_until is null or g.closed_until < excluded.closed_until;
$$;

-- Passes the gate and records the intent to call, in one transaction, so that no two callers take the last place.
-- `call_id` null with `wait_seconds` 0: the claim is stale, or `refused` says why there may be no more call. `call_id` null with
-- a wait: the gate is closed for so long. `staging_key` is where the answer of an image goes.
create function superstoryboard.open_call_v1(
  p_job uuid, p_claim bigint, p_route text, p_provider text, p_model text, p_call_hash text, p_lease_seconds integer,
  p_limits superstoryboard.gate_limits, p_staging_bucket text,
  out call_id bigint, out wait_seconds double precision, out staging_key text, out refused text
)
language plpgsql as $$
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
  from superstoryboard.intend_call_v1(p_job, p_claim, p_route, p_model, p_call_hash, p_lease_seconds, p_staging_bucket) i;
end
$$;
