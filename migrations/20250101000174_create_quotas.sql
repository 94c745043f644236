-- Quotas: how many jobs of a kind an owner may have open, and make in a minute and in a day. Open jobs are the rows of turns, so
-- that they are right however a job ends; what was made is counted. Without rows here nobody has a quota.

create table superstoryboard.quotas (
  kind text not null references superstoryboard.job_kinds (name) on delete cascade on update cascade,
  scope text not null check (scope in ('EVERYONE', 'ANONYMOUS', 'OWNER')),
  owner text not null default '',
  open_jobs integer check (open_jobs >= 0),
  per_minute integer check (per_minute >= 0),
  per_day integer check (per_day >= 0),
  primary key (owner, kind, scope),
  check ((scope = 'OWNER') = (owner <> ''))
);
comment on table superstoryboard.quotas is
  'Quotas of everyone, of users without an account, and of single owners: the narrowest that names a number counts. 0 is no limit, null is left to the wider.';

create table superstoryboard.quota_uses (
  owner text,
  kind text references superstoryboard.job_kinds (name) on delete cascade on update cascade,
  minute timestamptz not null,
  in_minute integer not null default 0,
  day timestamptz not null,
  in_day integer not null default 0,
  open_jobs integer not null default 0,
  primary key (owner, kind)
) with (fillfactor = 50);
comment on table superstoryboard.quota_uses is
  'Jobs that owners with a quota made in their last minute and day (UTC). Whoever makes jobs of an owner holds its rows locked.';
comment on column superstoryboard.quota_uses.open_jobs is 'Counted from turns by who holds the row, for its own transaction only.';
create index quota_uses_day on superstoryboard.quota_uses (day);

create type superstoryboard.quota as (open_jobs integer, per_minute integer, per_day integer);

-- The quota of an owner for a kind; null where it has none, as a service (p_scope NONE) and the names that the system gives itself.
create function superstoryboard.quota_of(p_owner text, p_kind text, p_scope text) returns superstoryboard.quota
language plpgsql stable set enable_seqscan to off as $$
declare
  quota superstoryboard.quota;
begin
  select coalesce(o.open_jobs, a.open_jobs, e.open_jobs, 0), coalesce(o.per_minute, a.per_minute, e.per_minute, 0),
    coalesce(o.per_day, a.per_day, e.per_day, 0) into quota
  from (select) one
  left join superstoryboard.quotas o on o.owner = p_owner and o.kind = p_kind and o.scope = 'OWNER'
  left join superstoryboard.quotas a on a.owner = '' and a.kind = p_kind and a.scope = 'ANONYMOUS' and p_scope = 'ANONYMOUS'
  left join superstoryboard.quotas e on e.owner = '' and e.kind = p_kind and e.scope = 'EVERYONE';
  return case when quota <> row(0, 0, 0)::superstoryboard.quota and p_scope <> 'NONE' and p_owner not in ('sql', 'service_role', 'local')
    then quota end;
end
$$;

-- Locks what an owner with a quota used, brings it to this minute and day, and counts its open jobs.
create function superstoryboard.lock_quota(p_owner text, p_kind text, p_scope text) returns void
language plpgsql set enable_seqscan to off as $$
declare
  quota superstoryboard.quota := superstoryboard.quota_of(p_owner, p_kind, p_scope);
  present timestamptz := clock_timestamp();
begin
  if quota is null then
    return;
  end if;
  -- Who waited for the row may come with an older minute than it has by then.
  insert into superstoryboard.quota_uses as u (owner, kind, minute, day)
  values (p_owner, p_kind, date_trunc('minute', present), date_trunc('day', present, 'UTC'))
  on conflict (owner, kind) do update
  set in_minute = case when excluded.minute > u.minute then 0 else u.in_minute end, minute = greatest(u.minute, excluded.minute),
      in_day = case when excluded.day > u.day then 0 else u.in_day end, day = greatest(u.day, excluded.day);
  update superstoryboard.quota_uses
  set open_jobs = (select count(*) from (
    select from superstoryboard.turns t where t.owner = p_owner and t.kind = p_kind limit quota.open_jobs
  ) open)
  where owner = p_owner and kind = p_kind and quota.open_jobs > 0;
end
$$;

-- Locks what the owners of items used, in one order, so that no two transactions wait for each other.
create function superstoryboard.lock_quotas(p_items jsonb) returns void
language plpgsql as $$
begin
  perform superstoryboard.lock_quota(i.owner, i.kind, i.scope)
  from (
    select value ->> 'owner' as owner, value ->> 'kind' as kind, coalesce(value ->> 'quota_scope', 'EVERYONE') as scope
    from jsonb_array_elements(p_items) group by 1, 2, 3 order by 1, 2
  ) i;
end
$$;

-- What a refusal says to people.
create function superstoryboard.quota_message(p_quota text, p_kind text, p_limit integer, p_seconds integer) returns text
language sql immutable as $$
  select format(case p_quota
    when 'OPEN_JOBS' then 'the quota of %2$s open %1$s jobs is used up; try again when one of them has ended'
    when 'PER_MINUTE' then 'the quota of %2$s %1$s jobs a minute is used up; try again in %3$s s'
    else 'the quota of %2$s %1$s jobs a day is used up; the next day begins at 00:00 UTC, in %3$s s'
  end, p_kind, p_limit, p_seconds);
$$;

-- Counts one more job of an owner whose quota is locked. Null, or why not: {quota, limit, retry_seconds, message}.
create function superstoryboard.take_quota(p_owner text, p_kind text, p_scope text) returns jsonb
language plpgsql as $$
declare
  quota superstoryboard.quota := superstoryboard.quota_of(p_owner, p_kind, p_scope);
  used superstoryboard.quota_uses;
  refused record;
  seconds integer;
begin
  if quota is null then
    return null;
  end if;
  select * into used from superstoryboard.quota_uses where owner = p_owner and kind = p_kind;
  select * into refused from (values
    ('PER_DAY', quota.per_day, used.in_day, used.day + interval '24 hours'),
    ('PER_MINUTE', quota.per_minute, used.in_minute, used.minute + interval '1 minute'),
    ('OPEN_JOBS', quota.open_jobs, used.open_jobs, clock_timestamp() + interval '30 seconds')
  ) q (name, most, count, until) where most > 0 and count >= most limit 1;
  if refused.name is not null then
    seconds := greatest(1, ceil(extract(epoch from refused.until - clock_timestamp())));
    return jsonb_build_object('quota', refused.name, 'limit', refused.most, 'retry_seconds', seconds,
      'message', superstoryboard.quota_message(refused.name, p_kind, refused.most, seconds));
  end if;
  update superstoryboard.quota_uses set in_minute = in_minute + 1, in_day = in_day + 1, open_jobs = open_jobs + 1
  where owner = p_owner and kind = p_kind;
  return null;
end
$$;

-- True where an owner, whose quota is locked by it, has as many open jobs as it may. Its other numbers are of jobs that are made.
create function superstoryboard.is_full(p_owner text, p_kind text, p_scope text) returns boolean
language plpgsql set enable_seqscan to off as $$
declare
  most integer := (superstoryboard.quota_of(p_owner, p_kind, p_scope)).open_jobs;
begin
  perform superstoryboard.lock_quota(p_owner, p_kind, p_scope) where most > 0;
  return exists (
    select from superstoryboard.quota_uses where owner = p_owner and kind = p_kind and most > 0 and open_jobs >= most);
end
$$;

-- Counts an item of accept_jobs_v1 that is no repeat: of those of one owner and kind, one transaction looks at a time.
create function superstoryboard.take_quota_of_item(p_item jsonb) returns jsonb
language plpgsql as $$
declare
  scope text := coalesce(p_item ->> 'quota_scope', 'EVERYONE');
begin
  if superstoryboard.quota_of(p_item ->> 'owner', p_item ->> 'kind', scope) is null or exists (
    select from superstoryboard.jobs where id = (p_item ->> 'id')::uuid
    union all
    select from superstoryboard.jobs where owner = p_item ->> 'owner' and request_id = p_item ->> 'request_id'
  ) then
    return null;
  end if;
  return superstoryboard.take_quota(p_item ->> 'owner', p_item ->> 'kind', scope);
end
$$;

-- Counts one more job of an owner for a sender by SQL, or raises. PT429 is the status 429 of PostgREST.
create function superstoryboard.require_quota(p_owner text, p_kind text, p_scope text) returns void
language plpgsql as $$
declare
  refusal jsonb;
begin
  perform superstoryboard.lock_quota(p_owner, p_kind, p_scope);
  refusal := superstoryboard.take_quota(p_owner, p_kind, p_scope);
  if refusal is not null then
    raise exception '%', refusal ->> 'message' using errcode = 'PT429',
      detail = (refusal - 'message' || '{"reason": "QUOTA_EXCEEDED"}')::text,
      hint = 'Whoever runs the database may raise it in superstoryboard.quotas.';
  end if;
end
$$;

-- What owners made before yesterday counts nowhere.
create function superstoryboard.sweep_quota_uses(p_limit integer) returns bigint
language plpgsql as $$
declare
  swept bigint;
begin
  delete from superstoryboard.quota_uses where ctid = any (array(
    select ctid from superstoryboard.quota_uses where day < now() - interval '2 days' order by day limit p_limit for update skip locked));
  get diagnostics swept = row_count;
  return swept;
end
$$;
