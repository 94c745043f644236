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

create or replace function public.pgmq_send(queue_name text, message jsonb) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  new_id bigint;
  enqueued timestamptz;
  owner_name text := superstoryboard.caller();
begin
  perform superstoryboard.require_queue($1);
  if $2 is null then
    raise exception 'message: must not be null' using errcode = 'null_value_not_allowed';
  end if;
  perform superstoryboard.check_body($2);
  perform superstoryboard.require_quota(owner_name, k.name, superstoryboard.caller_quota_scope())
  from superstoryboard.job_kinds k where k.queue = $1 and k.sent_publicly;
  select s.msg_id, s.enqueued_at into new_id, enqueued from superstoryboard.send_message($1, $2, 0) s;
  perform superstoryboard.adopt_message_v1($1, new_id, enqueued, enqueued, $2, owner_name);
  return new_id;
end
$$;

revoke all on function public.pgmq_send (text, jsonb) from public, anon;
grant execute on function public.pgmq_send (text, jsonb) to authenticated, service_role;

select superstoryboard.take_over('pgmq_send', 'text, jsonb');
