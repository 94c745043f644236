-- What belongs to whom: owners and members of storyboards (decision 0044).

create table superstoryboard.owner_rules (
  one boolean primary key default true check (one),
  kv_table text not null default 'public.kv_store_7ee7668a',
  owner_fields text[] not null default '{userId,user_id,ownerId,owner}',
  owner_claims text[] not null default '{sub}',
  shared text[] not null default '{test-storyboard}',
  anonymous_users boolean not null default false
);
comment on table superstoryboard.owner_rules is
  'Settings of ingest about owners and callers (KV_TABLE, OWNER_FIELDS, OWNER_CLAIMS, SHARED_STORYBOARDS, ALLOW_ANONYMOUS_USERS), for functions that other clients call too.';
insert into superstoryboard.owner_rules default values;

create table superstoryboard.storyboards (
  id text primary key,
  owner text not null,
  provisional boolean not null default true,
  claimed_at timestamptz not null default clock_timestamp()
);
comment on table superstoryboard.storyboards is
  'Owners of storyboards whose kv row names none. A provisional owner is the first who made a job; without a stored asset or an open job it lapses 24 hours after claimed_at.';
-- For the sweep, which deletes those that lapsed.
create index storyboards_provisional on superstoryboard.storyboards (claimed_at) where provisional;

create table superstoryboard.storyboard_members (
  storyboard_id text,
  member text,
  role text not null check (role in ('viewer', 'editor')),
  shared_by text not null,
  shared_at timestamptz not null default clock_timestamp(),
  primary key (storyboard_id, member)
);
comment on table superstoryboard.storyboard_members is 'Whom an owner lets read or write. It counts only while shared_by owns the storyboard.';

-- Refuses a kv table, with its schema, other than the one that `storyboard migrate` was told: another might carry triggers of whoever
-- names it, and they would run with the rights of the owner of our schema. The owner may name any.
create function superstoryboard.check_kv(p_kv text) returns void
language plpgsql stable as $$
declare
  migrated text := (select kv_table from superstoryboard.owner_rules);
begin
  if p_kv <> migrated and not superstoryboard.is_owner() then
    raise exception 'KV_TABLE is %, but the database was migrated for %', p_kv, migrated
      using errcode = 'insufficient_privilege', hint = 'Correct KV_TABLE, or run `storyboard migrate` with it.';
  end if;
end
$$;

-- A name that a caller can bear; whatever else stands in a kv row names nobody.
create function superstoryboard.is_caller_name(p_name text) returns boolean
language sql immutable as $$
  select p_name ~ '[^[:space:]]' and length(p_name) <= 128
    and p_name !~ '[\u0001-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]';
$$;

-- The owner that the kv row of a storyboard names in the first owner field with a name; null where there is none.
create function superstoryboard.kv_owner(p_storyboard text) returns text
language plpgsql stable as $$
declare
  rules superstoryboard.owner_rules;
  board jsonb;
  field text;
begin
  select * into rules from superstoryboard.owner_rules;
  if to_regclass(rules.kv_table) is null then
    return null;
  end if;
  execute format('select value from %s where key = $1', to_regclass(rules.kv_table)) into board using 'storyboard:' || p_storyboard;
  if jsonb_typeof(board) is distinct from 'object' then
    return null;
  end if;
  foreach field in array rules.owner_fields loop
    if jsonb_typeof(board -> field) = 'string' and superstoryboard.is_caller_name(board ->> field) then
      return board ->> field;
    end if;
  end loop;
  return null;
end
$$;

-- True where a provisional owner has lost a storyboard again.
create function superstoryboard.has_lapsed(p_board superstoryboard.storyboards) returns boolean
language sql stable as $$
  select p_board.provisional and p_board.claimed_at <= clock_timestamp() - interval '24 hours';
$$;

-- Who owns a storyboard now; null: nobody yet.
create function superstoryboard.storyboard_owner(p_storyboard text) returns text
language sql stable as $$
  select coalesce(superstoryboard.kv_owner(p_storyboard), (
    select s.owner from superstoryboard.storyboards s where s.id = p_storyboard and not superstoryboard.has_lapsed(s)
  ));
$$;

-- True for a storyboard that has no owner by the settings.
create function superstoryboard.is_shared(p_storyboard text) returns boolean
language sql stable as $$
  select p_storyboard = any (shared) from superstoryboard.owner_rules;
$$;

-- What a caller of these names may do with a storyboard: OWNER, EDITOR, VIEWER, SHARED (write, and see its own jobs), or null: nothing.
-- Whoever acts for the installation has no names (null) and may do all.
create function superstoryboard.access_to(p_storyboard text, p_names text[]) returns text
language plpgsql stable as $$
declare
  owner_name text;
begin
  if p_names is null then
    return 'OWNER';
  elsif superstoryboard.is_shared(p_storyboard) then
    return 'SHARED';
  end if;
  owner_name := superstoryboard.storyboard_owner(p_storyboard);
  if owner_name = any (p_names) then
    return 'OWNER';
  end if;
  return (
    select upper(m.role) from superstoryboard.storyboard_members m
    where m.storyboard_id = p_storyboard and m.member = any (p_names) and m.shared_by = owner_name
    order by m.role limit 1
  );
end
$$;

-- True where the jobs and assets of others in the storyboard are for a caller of these names.
create function superstoryboard.may_read(p_storyboard text, p_names text[]) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(superstoryboard.access_to(p_storyboard, p_names) <> 'SHARED', false);
$$;

-- True where a caller of these names may make jobs for the storyboard. What belongs to no storyboard is anyone's.
create function superstoryboard.may_write(p_storyboard text, p_names text[]) returns boolean
language sql stable as $$
  select p_names is null or coalesce(p_storyboard, '') = ''
    or coalesce(superstoryboard.access_to(p_storyboard, p_names) <> 'VIEWER', false);
$$;

-- The first who made a job for a storyboard that has no row: of jobs that were stored, are open, or were accepted in the last 24
-- hours. A job may wait for longer, and another must not come to read and cancel it, nor take its place at the link.
create function superstoryboard.first_comer(p_storyboard text, out name text, out stored boolean)
language sql stable as $$
  select coalesce(j.writes_as[1], j.owner), j.state = 'SUCCEEDED' from superstoryboard.jobs j
  where j.storyboard_id = p_storyboard and j.writes_as is distinct from '{}'
    and (j.state = 'SUCCEEDED' or j.ended_at is null or j.created_at > clock_timestamp() - interval '24 hours')
  order by j.created_at, j.id limit 1;
$$;

-- may_write for who makes a job: a storyboard without an owner becomes that of the first. Two at once: exactly one wins. Who has no
-- name writes what is nobody's, and owns nothing. Only the row of the storyboard is
-- locked; who asks for several asks in the order of their ids.
create function superstoryboard.claim_storyboard(p_storyboard text, p_names text[]) returns boolean
language plpgsql as $$
declare
  first record;
begin
  if superstoryboard.may_write(p_storyboard, p_names) then
    return true;
  elsif superstoryboard.storyboard_owner(p_storyboard) is not null then
    return false;
  elsif p_names = '{}' then
    return true;
  end if;
  select f.* into first from superstoryboard.first_comer(p_storyboard) f;
  insert into superstoryboard.storyboards as s (id, owner, provisional)
  values (p_storyboard, coalesce(first.name, p_names[1]), not coalesce(first.stored, false))
  on conflict (id) do update
  set owner = excluded.owner, provisional = excluded.provisional, claimed_at = clock_timestamp()
  where superstoryboard.has_lapsed(s);
  return superstoryboard.may_write(p_storyboard, p_names);
end
$$;

-- The names of an item of accept_jobs_v1; null: it acts for the installation.
create function superstoryboard.names_of(p_item jsonb) returns text[]
language sql immutable as $$
  select case when jsonb_typeof(p_item -> 'writes_as') = 'array' then array(select jsonb_array_elements_text(p_item -> 'writes_as')) end;
$$;

-- The storyboard of a job, or that of a generation which replaces its own; null where it belongs to none.
create function superstoryboard.board_of(p_job superstoryboard.jobs, p_generation jsonb) returns text
language sql immutable as $$
  select nullif(coalesce(p_generation, p_job.generation, jsonb_build_object('storyboardId', p_job.storyboard_id)) ->> 'storyboardId', '');
$$;

-- Items of accept_jobs_v1 that are not to be accepted, as {index: NOT_YOURS or SOURCE_NOT_YOURS}.
create function superstoryboard.refused_items(p_items jsonb) returns jsonb
language plpgsql as $$
declare
  refused jsonb := '{}';
  asked record;
  reason text;
begin
  for asked in
    select i.item -> 'generation' ->> 'storyboardId' as board, i.item ->> 'source_storyboard' as source,
      superstoryboard.names_of(i.item) as names, jsonb_agg(i.item ->> 'index') as items
    from jsonb_array_elements(p_items) i (item)
    where superstoryboard.names_of(i.item) is not null
    group by 1, 2, 3 order by 1
  loop
    reason := null;
    -- One statement each, so that the second sees what the first has claimed.
    if not superstoryboard.claim_storyboard(asked.board, asked.names) then
      reason := 'NOT_YOURS';
    elsif not superstoryboard.may_use_source(asked.source, asked.names) then
      reason := 'SOURCE_NOT_YOURS';
    end if;
    if reason is not null then
      refused := refused || (select jsonb_object_agg(e, reason) from jsonb_array_elements_text(asked.items) e);
    end if;
  end loop;
  return refused;
end
$$;

-- True where a picture in a private bucket of ours, which belongs to a storyboard, is for a caller of these names; null names none.
create function superstoryboard.may_use_source(p_storyboard text, p_names text[]) returns boolean
language sql stable as $$
  select p_storyboard is null or p_names is null or superstoryboard.access_to(p_storyboard, p_names) is not null;
$$;

-- The stored asset of a job makes its storyboard's owner lasting. One that acts for the installation makes nobody else's claim so.
create function superstoryboard.keep_owner(p_job superstoryboard.jobs, p_storyboard text) returns void
language plpgsql as $$
declare
  in_kv boolean := superstoryboard.kv_owner(p_storyboard) is not null;
  name text := coalesce(superstoryboard.storyboard_owner(p_storyboard),
    (superstoryboard.first_comer(p_storyboard)).name, p_job.writes_as[1], p_job.owner);
begin
  if p_job.writes_as = '{}' or superstoryboard.is_shared(p_storyboard) or exists (
    select from superstoryboard.storyboards s where s.id = p_storyboard and s.owner = name and not s.provisional
  ) then
    return;
  end if;
  insert into superstoryboard.storyboards as s (id, owner, provisional) values (p_storyboard, name, false)
  on conflict (id) do update set owner = excluded.owner, provisional = false
  where in_kv or superstoryboard.has_lapsed(s)
    or s.provisional and s.owner = excluded.owner and (p_job.writes_as is not null or p_job.owner = s.owner);
end
$$;

-- Owners whose 24 hours are over, and the members whom they alone let in: a row that lapsed is as none. The oldest come first, by an
-- index. Some minutes late: an accept that still counted on the owner may not have committed its job.
create function superstoryboard.sweep_lapsed_owners(p_limit integer) returns bigint
language plpgsql as $$
declare
  swept bigint;
begin
  with lapsed as (
    delete from superstoryboard.storyboards where id = any (array(
      select s.id from superstoryboard.storyboards s
      where s.provisional and s.claimed_at <= now() - interval '24 hours 5 minutes' and not exists (
        select from superstoryboard.jobs j where j.storyboard_id = s.id and j.ended_at is null)
      order by s.claimed_at limit p_limit for update of s skip locked))
    returning id, owner
  ), members as (
    delete from superstoryboard.storyboard_members m using lapsed
    where m.storyboard_id = lapsed.id and m.shared_by = lapsed.owner
      and superstoryboard.kv_owner(lapsed.id) is distinct from lapsed.owner
  )
  select count(*) into swept from lapsed;
  return swept;
end
$$;
