-- One group role per service, without a login; `storyboard roles create` makes the logins (decision 0047).
do $$
declare
  role_name text;
begin
  foreach role_name in array array['ingest', 'image_worker', 'video_worker', 'asset_writer', 'sweep'] loop
    role_name := 'superstoryboard_' || role_name;
    if not exists (select from pg_roles where rolname = role_name) then
      begin
        execute format('create role %I nologin', role_name);
      exception
        -- Another database of this server is being migrated at this moment.
        when duplicate_object or unique_violation then null;
        -- Logins for each service are an option: one login for all works without.
        when insufficient_privilege then
          raise warning 'The role % was not created (%): see docs/ROLES.md.', role_name, sqlerrm;
      end;
    end if;
  end loop;
end
$$;

create table superstoryboard.service_rights (
  service text,
  kind text check (kind in ('ROUTINE', 'RELATION')),
  name text,
  columns text[],
  visible text not null default 'true',
  primary key (service, kind, name)
);
comment on table superstoryboard.service_rights is
  'What each service may call and read in this schema; `storyboard migrate` grants it. Only the owner writes a table.';
comment on column superstoryboard.service_rights.columns is 'Columns of the relation; null: all.';
comment on column superstoryboard.service_rights.visible is 'Rows of the relation, as a condition.';

insert into superstoryboard.service_rights (service, kind, name)
select 'superstoryboard_' || service, 'ROUTINE', unnest(string_to_array(names, ' ')) from (values
  ('ingest', 'accept_jobs_v1 cancel_job_v1 redrive_job_v1 redrive_dead_letters_v1 discard_dead_letters_v1 pause_queue_v1'),
  ('ingest', 'storyboard_v1 share_storyboard_v1 transfer_storyboard_v1 full_name set_owner_rules_v1 may_read shown_document'),
  ('ingest', 'sweep_duties_v1 sweep_duty_v1 queue_status_v1 record_operation_v1'),
  ('ingest', 'hold_event_feed_v1 advance_event_feed_v1 release_event_feed_v1'),
  ('ingest', 'create_service_token_v1 revoke_service_token_v1 note_service_tokens_v1'),
  ('asset_writer', 'claim_artifacts_v1 extend_artifact_v1 return_artifact_v1 bury_artifact_v1 postpone_artifact_v1'),
  ('asset_writer', 'note_job_error_v1 finish_job_v1 claim_cleanups_v1 end_cleanups_v1 note_service_tokens_v1'),
  ('sweep', 'sweep wake'),
  ('video_worker', 'unclaimed_operations_v1 search_for_call_v1 end_search_v1 note_lost_answer_v1')
) own (service, names);

insert into superstoryboard.service_rights (service, kind, name)
select worker, 'ROUTINE', unnest(string_to_array(names, ' '))
from unnest(array['superstoryboard_image_worker', 'superstoryboard_video_worker']) worker, (values
  ('claim_jobs_v1 extend_leases_v1 holds_lease_v1 release_job_v1 retry_job_v1 fail_job_v1 freeze_generation_v1 report_progress_v1'),
  ('note_job_error_v1 close_gate_v1 open_call_v1 keep_name_v1 lose_call_v1 settle_call_v1 revive_job_v1 job_may_use_source_v1'),
  ('begin_artifacts_v1 stage_artifacts_v1 miss_artifact_v1 queue_status_v1 note_service_tokens_v1 serves')
) shared (names);

insert into superstoryboard.service_rights (service, kind, name)
select 'superstoryboard_ingest', 'RELATION', unnest(string_to_array(
  'job_records dead_letters jobs assets provider_calls job_events event_log gates service_tokens queues schema_migrations', ' '));
insert into superstoryboard.service_rights (service, kind, name, columns, visible)
select worker, 'RELATION', name, columns, visible
from unnest(array['superstoryboard_image_worker', 'superstoryboard_video_worker']) worker, (values
  ('jobs', '{id,queue,model}'::text[], 'superstoryboard.serves(queue)'),
  ('service_tokens', '{sha256,name,role,owner,queues,expires_at,revoked_at}', 'true'),
  ('schema_migrations', null, 'true')
) shared (name, columns, visible);
insert into superstoryboard.service_rights (service, kind, name, columns) values
  ('superstoryboard_asset_writer', 'RELATION', 'service_tokens', '{sha256,name,role,owner,queues,expires_at,revoked_at}'),
  ('superstoryboard_asset_writer', 'RELATION', 'schema_migrations', null);

-- Row-level security on every table of the schema, and on those of the queues with their partitions. It does not bind their owner.
create function superstoryboard.secure_tables() returns void
language plpgsql as $$
declare
  target regclass;
begin
  foreach target in array array(
    with recursive tables (id) as (
      select c.oid from pg_class c where c.relnamespace = 'superstoryboard'::regnamespace and c.relkind in ('r', 'p')
      union
      select to_regclass(format('pgmq.%I', letter || '_' || q.name)) from superstoryboard.queues q, unnest(array['q', 'a']) letter
      union
      select i.inhrelid from tables t join pg_inherits i on i.inhparent = t.id
    )
    select c.oid::regclass from tables t join pg_class c on c.oid = t.id where not c.relrowsecurity
  ) loop
    execute format('alter table %s enable row level security', target);
  end loop;
  for target in
    select c.oid from pg_class c
    where c.relnamespace = 'superstoryboard'::regnamespace and c.relkind = 'v' and c.reloptions is null
      and current_setting('server_version_num')::integer >= 150000
  loop
    -- With the rights of whoever reads it: a view of its owner would pass by row-level security.
    execute format('alter view %s set (security_invoker = true)', target);
  end loop;
end
$$;

-- Lets a service read a relation: the columns by a grant, the rows of a table by a policy of its own.
create function superstoryboard.let_read(p_right superstoryboard.service_rights) returns void
language plpgsql as $$
declare
  relation regclass := to_regclass(format('superstoryboard.%I', p_right.name));
  columns text := (select string_agg(quote_ident(c), ', ') from unnest(p_right.columns) c);
begin
  execute format('grant select %s on %s to %I', '(' || columns || ')', relation, p_right.service);
  if (select relkind from pg_class where oid = relation) <> 'v' and not exists (
    select from pg_policy where polrelid = relation and polname = p_right.service
  ) then
    execute format('create policy %I on %s for select to %1$I using (%3$s)', p_right.service, relation, p_right.visible);
  end if;
end
$$;

-- Grants the services what service_rights says, as far as their roles exist, and takes from everybody else the right to call our
-- functions. `storyboard migrate` ends with it, so that it holds for tables, functions and queues of later files too.
create function superstoryboard.settle_rights_v1(p_kv_table text) returns void
language plpgsql as $$
declare
  kv text := superstoryboard.full_name(p_kv_table);
  role_name name;
  item superstoryboard.service_rights;
  routine regprocedure;
begin
  update superstoryboard.owner_rules set kv_table = kv where kv_table <> kv;
  perform superstoryboard.secure_tables();
  revoke execute on all routines in schema superstoryboard from public, anon, authenticated;
  for role_name in select r.rolname from pg_roles r where r.rolname in (select s.service from superstoryboard.service_rights s) loop
    -- Without USAGE a name of a table cannot be looked up; it opens nothing.
    execute format('grant usage on schema superstoryboard, %s to %I',
      (select relnamespace::regnamespace from pg_class where oid = to_regclass(kv)), role_name);
    for item in select * from superstoryboard.service_rights s where s.service = role_name loop
      if item.kind = 'RELATION' then
        perform superstoryboard.let_read(item);
        continue;
      end if;
      for routine in select oid from pg_proc where pronamespace = 'superstoryboard'::regnamespace and proname = item.name loop
        execute format('grant execute on function %s to %I', routine, item.service);
      end loop;
    end loop;
  end loop;
end
$$;
