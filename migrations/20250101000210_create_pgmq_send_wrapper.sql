-- SPEC A3: send for clients that see only schema public. The caller's JWT subject becomes the owner of the job.
create or replace function public.pgmq_send(queue_name text, message jsonb) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  new_id bigint;
  enqueued timestamptz;
  claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  owner_name text := coalesce(nullif(claims ->> 'sub', ''), nullif(current_setting('request.jwt.claim.sub', true), ''), 'sql');
begin
  perform superstoryboard.require_queue($1);
  if $2 is null then
    raise exception 'message: must not be null' using errcode = 'null_value_not_allowed';
  end if;
  perform superstoryboard.check_body($2);
  select s.msg_id, s.enqueued_at into new_id, enqueued from superstoryboard.send_message($1, $2, 0) s;
  perform superstoryboard.adopt_message_v1($1, new_id, enqueued, enqueued, $2, owner_name);
  return new_id;
end
$$;

revoke all on function public.pgmq_send (text, jsonb) from public, anon;
grant execute on function public.pgmq_send (text, jsonb) to authenticated, service_role;
