-- What owners and operators do with storyboards: look, share, transfer; and what ingest says about owners.

-- A storyboard as a caller of these names sees it; no row where it is not for them.
create function superstoryboard.storyboard_v1(p_storyboard text, p_names text[])
returns table (id text, owner text, lapses_at timestamptz, access text, members jsonb)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p_storyboard, coalesce(o.owner, ''), case when s.provisional and s.owner = o.owner then s.claimed_at + interval '24 hours' end,
    a.access, (
      select coalesce(jsonb_agg(jsonb_build_object('member', m.member, 'role', m.role) order by m.member), '[]')
      from superstoryboard.storyboard_members m
      where a.access = 'OWNER' and m.storyboard_id = p_storyboard and m.shared_by = o.owner
    )
  from (select case when superstoryboard.is_shared(p_storyboard) then 'SHARED'
      else superstoryboard.access_to(p_storyboard, p_names) end as access) a
  cross join (select case when not superstoryboard.is_shared(p_storyboard) then superstoryboard.storyboard_owner(p_storyboard) end as owner) o
  left join superstoryboard.storyboards s on s.id = p_storyboard and superstoryboard.kv_owner(p_storyboard) is null
  where a.access is not null;
$$;

-- Lets a member read (viewer) or also write (editor), or with a null role no more. Null, or why not: NOT_FOUND, NOT_YOURS,
-- NO_OWNER, MEMBER_LIMIT.
create function superstoryboard.share_storyboard_v1(p_storyboard text, p_names text[], p_member text, p_role text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  most_members constant integer := 100;
  access text := superstoryboard.access_to(p_storyboard, p_names);
  owner_name text := superstoryboard.storyboard_owner(p_storyboard);
begin
  if access is null then
    return 'NOT_FOUND';
  elsif access in ('EDITOR', 'VIEWER') then
    return 'NOT_YOURS';
  elsif owner_name is null or superstoryboard.is_shared(p_storyboard) then
    return 'NO_OWNER';
  end if;
  delete from superstoryboard.storyboard_members
  where storyboard_id = p_storyboard and (shared_by <> owner_name or p_role is null and member = p_member);
  if p_role is not null then
    -- Two at once count one after the other.
    perform pg_advisory_xact_lock(hashtextextended('superstoryboard members ' || p_storyboard, 0));
    if (select count(*) from superstoryboard.storyboard_members where storyboard_id = p_storyboard and member <> p_member)
       >= most_members then
      return 'MEMBER_LIMIT';
    end if;
    insert into superstoryboard.storyboard_members (storyboard_id, member, role, shared_by)
    values (p_storyboard, p_member, p_role, owner_name)
    on conflict (storyboard_id, member) do update
    set role = excluded.role, shared_by = excluded.shared_by, shared_at = clock_timestamp();
  end if;
  return null;
end
$$;

-- Gives a storyboard to an owner, for good; its members go. Null, or why not: NO_OWNER, where the settings say that it has none, or
-- OWNER_IN_KV, where its kv row names another.
create function superstoryboard.transfer_storyboard_v1(p_storyboard text, p_owner text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if superstoryboard.is_shared(p_storyboard) then
    return 'NO_OWNER';
  elsif superstoryboard.kv_owner(p_storyboard) <> p_owner then
    return 'OWNER_IN_KV';
  end if;
  insert into superstoryboard.storyboards (id, owner, provisional) values (p_storyboard, p_owner, false)
  on conflict (id) do update set owner = excluded.owner, provisional = false, claimed_at = clock_timestamp();
  delete from superstoryboard.storyboard_members where storyboard_id = p_storyboard and shared_by <> p_owner;
  return null;
end
$$;

-- The name of a table with its schema, as those who look along no path need it; as it is where there is no such table.
create function superstoryboard.full_name(p_table text) returns text
language sql stable as $$
  select coalesce((
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = to_regclass(p_table)
  ), p_table);
$$;

-- Keeps what ingest was set to. Only the owner of the schema changes the kv table: see check_kv.
create function superstoryboard.set_owner_rules_v1(
  p_kv_table text, p_fields text[], p_claims text[], p_shared text[], p_anonymous_users boolean
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform superstoryboard.check_kv(p_kv_table);
  update superstoryboard.owner_rules
  set kv_table = p_kv_table, owner_fields = p_fields, owner_claims = p_claims, shared = p_shared, anonymous_users = p_anonymous_users
  where (kv_table, owner_fields, owner_claims, shared, anonymous_users)
    is distinct from (p_kv_table, p_fields, p_claims, p_shared, p_anonymous_users);
end
$$;

-- True where a job may use a picture that belongs to a storyboard.
create function superstoryboard.job_may_use_source_v1(p_job uuid, p_storyboard text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.may_use_source(p_storyboard, j.writes_as) from superstoryboard.jobs j where j.id = p_job;
$$;
