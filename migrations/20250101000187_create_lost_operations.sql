-- Lost names: a video was submitted, and the name of its operation did not reach the ledger. It is looked for at the provider, or
-- a person enters it; until then nothing is paid a second time.

-- An operation belongs to one call: of two that ask for the same, none may take the other's.
create unique index provider_calls_operation on superstoryboard.provider_calls (route, operation_name)
  where operation_name is not null;
create index provider_calls_open_hash on superstoryboard.provider_calls (call_hash) where state in ('INTENT', 'UNKNOWN');

-- Enters an operation's name that was found outside. Returns RECORDED, also where it was entered before; or why nothing was
-- changed: NOT_FOUND, NO_OPEN_CALL (the call has ended, or has another name), OPERATION_NAME_IN_USE (the operation is another call's).
create function superstoryboard.record_operation_v1(p_job uuid, p_call bigint, p_operation_name text, p_actor text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  locked record;
  call superstoryboard.provider_calls;
begin
  select * into locked from superstoryboard.lock_job(p_job);
  select * into call from superstoryboard.provider_calls where id = p_call and job_id = p_job for update;
  if (locked.job).id is null or call.id is null then
    return 'NOT_FOUND';
  elsif call.operation_name = p_operation_name then
    return 'RECORDED';
  elsif call.state not in ('INTENT', 'UNKNOWN') then
    return 'NO_OPEN_CALL';
  elsif exists (
    select from superstoryboard.provider_calls where route = call.route and operation_name = p_operation_name
  ) then
    return 'OPERATION_NAME_IN_USE';
  end if;
  perform superstoryboard.emit_event(locked.job, format('Operation name recorded by %s', p_actor));
  perform superstoryboard.accept_call_v1(p_call, p_operation_name);
  return 'RECORDED';
end
$$;

-- False where a list of operations tells for certain that one did not come of the call that asked for `other` but of that for `mine`:
-- it shows the prompt, perhaps cut, and the parameters, but not the source image.
create function superstoryboard.may_be_listed_as(other jsonb, mine jsonb) returns boolean
language sql immutable parallel safe as $$
  select coalesce(
    starts_with(other ->> 'prompt', mine ->> 'prompt')
    and other ->> 'aspectRatio' = mine ->> 'aspectRatio'
    and other ->> 'durationSeconds' = mine ->> 'durationSeconds'
    and other ->> 'resolution' = mine ->> 'resolution',
    true
  );
$$;

-- Of operations that the provider lists, those that no call of the route has; and whether no other open call could have begun what
-- is like this one, without which a likeness proves nothing. What a call that was let go had asked for may have been edited since.
create function superstoryboard.unclaimed_operations_v1(p_call bigint, p_names text[], out names text[], out alone boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select
    array(
      select listed.name from unnest(p_names) as listed (name)
      where not exists (
        select from superstoryboard.provider_calls o where o.route = c.route and o.operation_name = listed.name
      )
    ),
    not exists (
      select from superstoryboard.provider_calls o
      where o.state in ('INTENT', 'UNKNOWN') and o.id <> c.id and (
        o.call_hash = c.call_hash
        or o.model = c.model and o.created_at between c.created_at - interval '2 minutes' and c.created_at + interval '2 minutes'
           and (o.waived_by is not null or (
             select superstoryboard.may_be_listed_as(other.generation, mine.generation)
             from superstoryboard.jobs other where other.id = o.job_id
           ))
      )
    )
  from superstoryboard.provider_calls c join superstoryboard.jobs mine on mine.id = c.job_id
  where c.id = p_call;
$$;

-- Says, before a submit, for how long its operation is looked for where the answer does not come.
create function superstoryboard.search_for_call_v1(p_call bigint, p_seconds double precision) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.check_call(p_call);
  update superstoryboard.provider_calls set search_until = clock_timestamp() + make_interval(secs => p_seconds)
  where id = p_call and state = 'INTENT';
$$;

-- Ends the search for the operation of a call: nothing can bring its name.
create function superstoryboard.end_search_v1(p_call bigint) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.check_call(p_call);
  update superstoryboard.provider_calls set search_over = true where id = p_call and state = 'INTENT';
$$;

-- Keeps what is known of a submit whose answer did not come while its operation is looked for: the call stays INTENT.
create function superstoryboard.note_lost_answer_v1(p_call bigint, p_error jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.check_call(p_call);
  update superstoryboard.provider_calls set error = p_error where id = p_call and state = 'INTENT';
$$;
