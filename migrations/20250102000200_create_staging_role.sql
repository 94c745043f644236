-- The role of the workers' staging key: it reads and writes objects of the staging bucket, and nothing else.
do $$
begin
  if not exists (select from pg_roles where rolname = 'superstoryboard_staging') then
    create role superstoryboard_staging nologin noinherit;
  end if;
exception
  -- Another database of this server is being migrated at this moment.
  when duplicate_object or unique_violation then null;
  -- A staging key is an option: everything else works without.
  when insufficient_privilege then
    raise warning 'The role superstoryboard_staging was not created (%): see docs/STAGING-KEY.md.', sqlerrm;
end
$$;

-- Storage takes the role of a JWT by way of this one.
do $$
begin
  if exists (select from pg_roles where rolname = 'authenticator')
     and exists (select from pg_roles where rolname = 'superstoryboard_staging')
     and not pg_has_role('authenticator', 'superstoryboard_staging', 'member') then
    grant superstoryboard_staging to authenticator;
  end if;
exception
  when unique_violation then null;
  when insufficient_privilege then
    raise warning 'The role superstoryboard_staging was not granted to authenticator (%): see docs/STAGING-KEY.md.', sqlerrm;
end
$$;

-- Lets the staging role use one bucket, where this database has Supabase's Storage. The permissive policy opens the bucket; the
-- restrictive one shuts out every other, also where a policy of the project speaks to all roles.
-- Returns what was done or what stands in the way, or null where nothing is to be done. Safe to repeat; a new name moves the right.
create function superstoryboard.allow_staging_v1(p_bucket text) returns text
language plpgsql as $$
declare
  rule text := format('(bucket_id = %L::text)', p_bucket);
begin
  if to_regclass('storage.objects') is null then
    return null;
  elsif not exists (select from pg_roles where rolname = 'superstoryboard_staging') then
    return 'The role superstoryboard_staging is missing, so no staging key can be minted: see docs/STAGING-KEY.md.';
  elsif not (select relrowsecurity from pg_class where oid = to_regclass('storage.objects')) then
    return 'The staging role got no right: storage.objects has no row-level security, so that it would reach every bucket.';
  elsif (select count(*) from pg_policies
         where schemaname = 'storage' and tablename = 'objects' and policyname like 'superstoryboard staging%'
           and qual = rule and with_check = rule) = 2 then
    return null;
  end if;
  drop policy if exists "superstoryboard staging" on storage.objects;
  drop policy if exists "superstoryboard staging only" on storage.objects;
  execute format('create policy "superstoryboard staging" on storage.objects to superstoryboard_staging using %s with check %s', rule, rule);
  execute format('create policy "superstoryboard staging only" on storage.objects as restrictive to superstoryboard_staging using %s with check %s', rule, rule);
  grant usage on schema storage to superstoryboard_staging;
  grant select, insert, update, delete on storage.objects to superstoryboard_staging;
  -- Without the grant option a grant is only a warning.
  if not (has_schema_privilege('superstoryboard_staging', 'storage', 'usage')
          and has_table_privilege('superstoryboard_staging', 'storage.objects', 'insert')) then
    return 'The staging role has its policies, but this user may not grant it storage.objects: see docs/STAGING-KEY.md.';
  end if;
  return format('The staging role may use the bucket %s.', p_bucket);
exception
  when insufficient_privilege then
    return format('The staging role got no right: %s. See docs/STAGING-KEY.md.', sqlerrm);
end
$$;

select superstoryboard.allow_staging_v1('artifact-staging');
