-- SPEC A3: queue functions for clients that see only schema public.
create function superstoryboard.require_queue(p_queue text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from superstoryboard.queues where name = p_queue) then
    raise exception 'queue_name: unknown queue %', coalesce(quote_literal(p_queue), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Use image_generation_queue or video_generation_queue.';
  end if;
end
$$;

select superstoryboard.set_aside('pgmq_read', 'text, integer, integer');
select superstoryboard.set_aside('pgmq_delete', 'text, bigint');
select superstoryboard.set_aside('pgmq_archive', 'text, bigint');

create or replace function public.pgmq_read(queue_name text, vt integer, qty integer)
returns table (msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb)
-- In SQL, as PL/pgSQL refuses an input and an output of one name, and clients know both as vt.
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select superstoryboard.require_queue($1);
  select r.msg_id, r.read_ct::integer, r.enqueued_at, r.vt, r.message from pgmq.read($1, $2, $3) r;
$$;

create or replace function public.pgmq_delete(queue_name text, msg_id bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform superstoryboard.require_queue($1);
  return pgmq.delete($1, $2);
end
$$;

create or replace function public.pgmq_archive(queue_name text, msg_id bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform superstoryboard.require_queue($1);
  return pgmq.archive($1, $2);
end
$$;

revoke all on function public.pgmq_read (text, integer, integer), public.pgmq_delete (text, bigint),
  public.pgmq_archive (text, bigint) from public, anon, authenticated;
grant execute on function public.pgmq_read (text, integer, integer), public.pgmq_delete (text, bigint),
  public.pgmq_archive (text, bigint) to service_role;

select superstoryboard.take_over('pgmq_read', 'text, integer, integer');
select superstoryboard.take_over('pgmq_delete', 'text, bigint');
select superstoryboard.take_over('pgmq_archive', 'text, bigint');
