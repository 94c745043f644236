-- How jobs come in: accepted by ingest, or adopted from a message that anyone enqueued.

-- Inserts one job per item and enqueues only those that are new. Items are taken in the order of request_id, so that two
-- batches never deadlock. The id comes from the caller, so that a repeated call is harmless. Item: {index, id, kind, owner, request_id?, submit_hash, generation, provider, model,
-- labels, max_attempts, delay_seconds, traceparent, warnings}.
create function superstoryboard.accept_jobs_v1(p_items jsonb)
returns table (item_index integer, job_id uuid, outcome text)
language plpgsql as $$
declare
  item jsonb;
  new_job superstoryboard.jobs;
  existing superstoryboard.jobs;
begin
  for item in select value from jsonb_array_elements(p_items) order by value ->> 'request_id', (value ->> 'index')::int loop
    item_index := (item ->> 'index')::integer;
    insert into superstoryboard.jobs (
      id, kind, owner, request_id, submit_hash, storyboard_id, scene_id, character_id, generation, provider, model, labels,
      max_attempts, queue, traceparent, warnings
    )
    select (item ->> 'id')::uuid, item ->> 'kind', item ->> 'owner', item ->> 'request_id', item ->> 'submit_hash',
      item -> 'generation' ->> 'storyboardId', item -> 'generation' ->> 'sceneId', item -> 'generation' ->> 'characterId',
      item -> 'generation', item ->> 'provider', item ->> 'model', item -> 'labels', (item ->> 'max_attempts')::integer,
      q.name, item ->> 'traceparent', array(select jsonb_array_elements_text(item -> 'warnings'))
    from superstoryboard.queues q where q.kind = item ->> 'kind'
    on conflict do nothing
    returning * into new_job;
    if new_job.id is null then
      select * into existing from superstoryboard.jobs j
      where j.id = (item ->> 'id')::uuid or j.owner = item ->> 'owner' and j.request_id = item ->> 'request_id';
      job_id := existing.id;
      outcome := case when existing.submit_hash = item ->> 'submit_hash' then 'existing' else 'conflict' end;
    else
      perform superstoryboard.enqueue_job(new_job, item -> 'generation', coalesce((item ->> 'delay_seconds')::integer, 0), 'Accepted');
      job_id := new_job.id;
      outcome := 'created';
    end if;
    return next;
  end loop;
end
$$;

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
  set msg_id = new_id, enqueued_at = enqueued, rank = floor(extract(epoch from clock_timestamp()) * 1000000)
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
  is_object boolean := jsonb_typeof(p_body) = 'object';
begin
  insert into superstoryboard.jobs (
    id, kind, owner, raw_body, storyboard_id, scene_id, character_id, queue, msg_id, enqueued_at, rank
  )
  select superstoryboard.uuid_v7(), q.kind, p_owner, coalesce(p_body, 'null'),
    case when is_object then superstoryboard.plain_id(p_body ->> 'storyboardId') end,
    case when is_object then superstoryboard.plain_id(p_body ->> 'sceneId') end,
    case when is_object then superstoryboard.plain_id(p_body ->> 'characterId') end,
    p_queue, p_msg_id, p_enqueued_at, floor(extract(epoch from p_enqueued_at) * 1000000)
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
