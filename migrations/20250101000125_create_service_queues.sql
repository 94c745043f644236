-- Which service works on which queue, where the services have logins of their own (decision 0047). Functions that the services call
-- run with the rights of the owner of the schema; session_user remains the login, whatever it does.

create table superstoryboard.service_queues (
  service text,
  queue text references superstoryboard.queues (name) on delete cascade on update cascade,
  primary key (service, queue)
);
comment on table superstoryboard.service_queues is 'Queues of the group roles of workers: a login of such a role claims and settles nothing else.';
create index service_queues_queue on superstoryboard.service_queues (queue);
insert into superstoryboard.service_queues values
  ('superstoryboard_image_worker', 'image_generation_queue'),
  ('superstoryboard_video_worker', 'video_generation_queue');

-- True where the login is the owner of the schema, or may become it.
create function superstoryboard.is_owner() returns boolean
language plpgsql stable as $$
begin
  return (select pg_has_role(session_user, nspowner, 'member') from pg_namespace where nspname = 'superstoryboard');
end
$$;

-- True where the login may work on a queue: all but the workers' logins may.
create function superstoryboard.serves(p_queue text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- In PL/pgSQL, which keeps the plan: every claim asks.
  return superstoryboard.is_owner() or (
    select coalesce(bool_or(s.queue is not distinct from p_queue), true)
    from superstoryboard.service_queues s join pg_roles r on r.rolname = s.service
    where pg_has_role(session_user, r.oid, 'member')
  );
end
$$;

create function superstoryboard.check_queue(p_queue text) returns void
language plpgsql stable as $$
begin
  if not superstoryboard.serves(p_queue) then
    raise exception 'the login % does not serve the queue %', session_user, p_queue using errcode = 'insufficient_privilege';
  end if;
end
$$;

-- Numbers of calls can be guessed, unlike ids of jobs.
create function superstoryboard.check_call(p_call bigint) returns void
language plpgsql stable as $$
begin
  perform superstoryboard.check_queue(j.queue)
  from superstoryboard.provider_calls c join superstoryboard.jobs j on j.id = c.job_id where c.id = p_call;
end
$$;
