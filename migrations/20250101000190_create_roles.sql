-- Roles that Supabase has and a bare server lacks.
do $$
declare
  role_name text;
begin
  foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
    if not exists (select from pg_roles where rolname = role_name) then
      begin
        execute format('create role %I nologin', role_name);
      exception
        -- Another database of this server is being migrated at this moment.
        when duplicate_object or unique_violation then null;
      end;
    end if;
  end loop;
end
$$;
