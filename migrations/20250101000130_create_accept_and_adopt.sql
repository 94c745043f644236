-- How jobs come in: accepted by ingest, or adopted from a message that anyone enqueued.

-- Sends a message for the job and ties the two together.
create function superstoryboard.enqueue_job(
  p_job superstoryboard.jobs, p_body jsonb, p_delay_seconds integer, p_message text
) returns void
language plpgsql as $$
declare
  new_id bigint;
  enqueued timestamptz;
  queued superstoryboard.jobs;
begin
  select s.send into new_id from pgmq.send(p_job.queue, p_body, p_delay_seconds) as s (send);
  execute format('select enqueued_at from pgmq.%I where msg_id = $1', 'q_' || p_job.queue) into enqueued using new_id;
  update superstoryboard.jobs
  set msg_id = new_id, enqueued_at = enqueued, rank = floor(extract(epoch from clock_timestamp()) * 1000000),
      scheduled_at = clock_timestamp() + make_interval(secs => p_delay_seconds)
  where id = p_job.id
  returning * into queued;
  perform superstoryboard.emit_event(queued, p_message);
end
$$;

-- A job row for a message that has none. It validates nothing, so no body can make it fail.
create function superstoryboard.adopt_message_v1(p_queue text, p_msg_id bigint, p_enqueued_at timestamptz, p_body jsonb, p_owner text)
returns superstoryboard.jobs
language plpgsql as $$
declare
  adopted superstoryboard.jobs;
  delayed_until timestamptz;
  is_object boolean := jsonb_typeof(p_body) = 'object';
begin
  execute format('select vt from pgmq.%I where msg_id = $1 and enqueued_at = $2 and read_ct = 0', 'q_' || p_queue)
    into delayed_until using p_msg_id, p_enqueued_at;
  insert into superstoryboard.jobs (
    id, kind, owner, raw_body, storyboard_id, scene_id, character_id, queue, msg_id, enqueued_at, rank, scheduled_at, max_attempts
  )
  select superstoryboard.uuid_v7(), q.kind, p_owner, coalesce(p_body, 'null'),
    case when is_object then superstoryboard.plain_id(p_body ->> 'storyboardId') end,
    case when is_object then superstoryboard.plain_id(p_body ->> 'sceneId') end,
    case when is_object then superstoryboard.plain_id(p_body ->> 'characterId') end,
    p_queue, p_msg_id, p_enqueued_at, floor(extract(epoch from p_enqueued_at) * 1000000),
    greatest(p_enqueued_at, delayed_until), q.max_attempts
  from superstoryboard.queues q where q.name = p_queue
  on conflict (queue, msg_id, enqueued_at) do nothing
  returning * into adopted;
  if adopted.id is not null then
    perform superstoryboard.emit_event(adopted, 'Adopted from the queue');
  end if;
  return adopted;
end
$$;

create function superstoryboard.plain_id(p_text text) returns text
language sql immutable as $$
  select case when p_text ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$' then p_text end;
$$;

-- Freezes what a raw body was found to ask for. Fenced by the claim.
create function superstoryboard.freeze_generation_v1(
  p_job uuid, p_claim bigint, p_generation jsonb, p_provider text, p_model text, p_warnings text[]
) returns boolean
language sql as $$
  with frozen as (
    update superstoryboard.jobs
    set generation = p_generation, provider = p_provider, model = p_model, warnings = warnings || p_warnings
    where id = p_job and claim = p_claim and state = 'RUNNING'
    returning id
  )
  select exists (select from frozen);
$$;
