-- SPEC A3: send for clients that see only schema public. The caller's JWT subject becomes the owner of the job.
select superstoryboard.set_aside('pgmq_send', 'text, jsonb');

-- Who calls, as the gateway says: the subject of the JWT, or "sql" where there is none. What ingest takes for no subject is refused
-- here too: the names that the system gives itself, and what is blank, long or cannot be shown.
create function superstoryboard.caller() returns text
language plpgsql stable as $$
declare
  claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  subject text := coalesce(nullif(claims ->> 'sub', ''), nullif(current_setting('request.jwt.claim.sub', true), ''));
begin
  if subject in ('sql', 'service_role', 'local') then
    raise exception 'the token''s sub is a reserved name'
      using errcode = 'invalid_authorization_specification', hint = 'No caller may be called sql, service_role or local.';
  elsif length(subject) > 128 or subject !~ '[^[:space:]]' or subject ~ '[\u0001-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]' then
    raise exception 'the token''s sub must be at most 128 printable characters' using errcode = 'invalid_authorization_specification';
  end if;
  return coalesce(subject, 'sql');
end
$$;

-- Which quotas hold for the caller (superstoryboard/domain/quotas.py). Whoever is not plainly no guest is one.
create function superstoryboard.caller_quota_scope() returns text
language sql stable as $$
  select case
    when claims ->> 'role' = 'service_role' then 'NONE'
    when coalesce(claims -> 'is_anonymous', 'null') in ('null', 'false') then 'EVERYONE'
    else 'ANONYMOUS'
  end from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb as claims) c;
$$;

-- Refuses users without an account, unless ingest was told to let them in.
create function superstoryboard.check_account() returns void
language plpgsql stable as $$
begin
  if superstoryboard.caller_quota_scope() = 'ANONYMOUS' and not (select anonymous_users from superstoryboard.owner_rules) then
    raise exception 'ANONYMOUS_REFUSED: anonymous users may not send; sign in with an account'
      using errcode = 'insufficient_privilege', hint = 'ALLOW_ANONYMOUS_USERS=true for ingest lets them in.';
  end if;
end
$$;

-- The names of who calls, as ingest reads them from the claims that OWNER_CLAIMS names: none for anon, and null for service_role
-- and where there is no token at all.
create function superstoryboard.caller_names() returns text[]
language plpgsql stable as $$
declare
  claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  legacy text := nullif(current_setting('request.jwt.claim.sub', true), '');
  caller_role text := coalesce(claims ->> 'role', current_setting('request.jwt.claim.role', true));
  names text[];
  are_text boolean;
begin
  if caller_role = 'service_role' or claims is null and legacy is null then
    return null;
  end if;
  claims := coalesce(claims, '{}') || case when legacy is not null and claims ->> 'sub' is null
    then jsonb_build_object('sub', legacy) else '{}' end;
  select coalesce(array_agg(n.value #>> '{}' order by c.place, n.place), '{}'), coalesce(bool_and(jsonb_typeof(n.value) = 'string'), true)
    into names, are_text
  from superstoryboard.owner_rules r, unnest(r.owner_claims) with ordinality c (path, place),
    jsonb_path_query(jsonb_build_array(claims #> string_to_array(c.path, '.')), 'lax $[*][*] ? (@ != null)')
      with ordinality n (value, place);
  if claims ->> 'sub' is null and caller_role is distinct from 'anon' or not are_text or cardinality(names) > 32
     or exists (select from unnest(names) n where n in ('sql', 'service_role', 'local') or not superstoryboard.is_caller_name(n)) then
    raise exception 'the token does not say who calls'
      using errcode = 'invalid_authorization_specification',
        hint = 'Its sub and the claims of OWNER_CLAIMS must be names of at most 128 printable characters.';
  end if;
  return names;
end
$$;

-- Refuses a message of a user for a storyboard of somebody else.
create function superstoryboard.check_storyboard(p_body jsonb, p_names text[]) returns void
language plpgsql as $$
declare
  board jsonb := p_body -> 'storyboardId';
begin
  -- Readers of JSON would not agree on the text of another number.
  if p_names is not null and jsonb_typeof(board) = 'number' and (not superstoryboard.is_short(board) or board::text !~ '^[0-9]+$') then
    raise exception 'storyboardId: must be a string' using errcode = 'invalid_parameter_value';
  elsif not superstoryboard.claim_storyboard(superstoryboard.plain_id(board), p_names) then
    raise exception 'NOT_YOURS: storyboard % belongs to somebody else', superstoryboard.plain_id(board)
      using errcode = 'insufficient_privilege', hint = 'Ask its owner to share it with you as an editor.';
  end if;
end
$$;

create or replace function public.pgmq_send(queue_name text, message jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  new_id bigint;
  enqueued timestamptz;
  owner_name text := superstoryboard.caller();
  names text[] := superstoryboard.caller_names();
begin
  perform superstoryboard.check_account();
  perform superstoryboard.require_queue($1);
  if $2 is null then
    raise exception 'message: must not be null' using errcode = 'null_value_not_allowed';
  end if;
  perform superstoryboard.check_body($2);
  perform superstoryboard.require_quota(owner_name, k.name, superstoryboard.caller_quota_scope())
  from superstoryboard.job_kinds k where k.queue = $1 and k.sent_publicly;
  perform superstoryboard.check_storyboard($2, names);
  select s.msg_id, s.enqueued_at into new_id, enqueued from superstoryboard.send_message($1, $2, 0) s;
  perform superstoryboard.adopt_message_v1($1, new_id, enqueued, enqueued, $2, owner_name, names);
  return new_id;
end
$$;

revoke all on function public.pgmq_send (text, jsonb) from public, anon;
grant execute on function public.pgmq_send (text, jsonb) to authenticated, service_role;

select superstoryboard.take_over('pgmq_send', 'text, jsonb');
