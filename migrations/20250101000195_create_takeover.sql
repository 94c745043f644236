-- A project that has queues already may have functions of our names in schema public: their arguments may be named otherwise or
-- have defaults, and their result may have another type, none of which "create or replace" can change. Such a function is renamed,
-- ours is made in its place, gets the grants of the other one, and that is dropped.
create function superstoryboard.set_aside(p_name text, p_arguments text) returns void
language plpgsql as $$
declare
  old regprocedure := to_regprocedure(format('public.%I(%s)', p_name, p_arguments));
begin
  if old is not null then
    execute format('alter routine %s rename to %I', old, p_name || '_replaced');
  end if;
end
$$;

-- Whoever might call the old function may call the new one, save the roles whose rights the migration itself decides about.
create function superstoryboard.take_over(p_name text, p_arguments text) returns void
language plpgsql as $$
declare
  old regprocedure := to_regprocedure(format('public.%I(%s)', p_name || '_replaced', p_arguments));
  grantee name;
  dependents text;
begin
  if old is null then
    return;
  end if;
  for grantee in
    select r.rolname
    from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a join pg_roles r on r.oid = a.grantee
    where p.oid = old and a.privilege_type = 'EXECUTE'
      and r.rolname not in ('anon', 'authenticated', 'service_role', current_user)
  loop
    execute format('grant execute on function public.%I(%s) to %I', p_name, p_arguments, grantee);
  end loop;
  execute format('drop routine %s', old);
exception
  when dependent_objects_still_exist then
    get stacked diagnostics dependents = pg_exception_detail;
    raise exception 'public.%(%) must be replaced, but other objects depend on it', p_name, p_arguments
      using errcode = 'dependent_objects_still_exist', detail = replace(dependents, p_name || '_replaced', p_name),
        hint = 'Drop these objects, migrate, and create them again.';
end
$$;
