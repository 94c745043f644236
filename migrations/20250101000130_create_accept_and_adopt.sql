-- How jobs come in: accepted by ingest, or adopted from a message that anyone enqueued.

-- Sends a message of ours, whose job the sender makes: the trigger on the queue leaves it alone.
create function superstoryboard.send_message(
  p_queue text, p_body jsonb, p_delay_seconds integer, out msg_id bigint, out enqueued_at timestamptz
)
language plpgsql as $$
begin
  perform set_config('superstoryboard.own_send', 'on', true);
  select s.send into msg_id from pgmq.send(p_queue, p_body, p_delay_seconds) as s (send);
  perform set_config('superstoryboard.own_send', 'off', true);
  execute format('select q.enqueued_at from pgmq.%I q where q.msg_id = $1', 'q_' || p_queue) into enqueued_at using msg_id;
end
$$;

-- Sends a message for the job, with what it asks for as far as that is known, and ties the two together.
create function superstoryboard.enqueue_job(
  p_job superstoryboard.jobs, p_delay_seconds integer, p_message text
) returns void
language plpgsql as $$
declare
  sent record;
  queued superstoryboard.jobs;
begin
  select * into sent from superstoryboard.send_message(p_job.queue, coalesce(p_job.generation, p_job.raw_body), p_delay_seconds);
  update superstoryboard.jobs
  set msg_id = sent.msg_id, enqueued_at = sent.enqueued_at, rank = superstoryboard.rank_of(p_job.queue, sent.msg_id),
      lost_claims = 0, orderly_claim = claim,
      scheduled_at = clock_timestamp() + make_interval(secs => case when state = 'STAGED' then 0 else p_delay_seconds end)
  where id = p_job.id
  returning * into queued;
  perform superstoryboard.open_turn(queued, p_delay_seconds);
  if queued.claim > 0 then
    update superstoryboard.provider_calls set parked = false where job_id = queued.id and parked;
    update superstoryboard.artifacts set parked = false where job_id = queued.id and parked;
  end if;
  perform superstoryboard.emit_event(queued, p_message);
end
$$;

-- Begins the trace of a job that no request asked for; `new_traceparent` of superstoryboard/domain/traces.py does for the others.
create function superstoryboard.new_traceparent() returns text
language sql volatile as $$
  select format('00-%s-%s-00', replace(gen_random_uuid()::text, '-', ''), left(replace(gen_random_uuid()::text, '-', ''), 16));
$$;

-- A job row for a message that has none, due at p_due_at: of the queue's kind that anyone may send, if there is one. It validates nothing, so no body can make it fail.
create function superstoryboard.adopt_message_v1(
  p_queue text, p_msg_id bigint, p_enqueued_at timestamptz, p_due_at timestamptz, p_body jsonb, p_owner text, p_writes_as text[]
) returns superstoryboard.jobs
language plpgsql as $$
declare
  adopted superstoryboard.jobs;
  present timestamptz := clock_timestamp();
begin
  insert into superstoryboard.jobs (
    id, kind, owner, writes_as, raw_body, storyboard_id, scene_id, character_id, queue, msg_id, enqueued_at, rank, scheduled_at,
    max_attempts, traceparent
  )
  select superstoryboard.uuid_v7(), k.name, p_owner, p_writes_as, coalesce(p_body, 'null'), superstoryboard.plain_id(p_body -> 'storyboardId'),
    superstoryboard.plain_id(p_body -> 'sceneId'), superstoryboard.plain_id(p_body -> 'characterId'),
    p_queue, p_msg_id, p_enqueued_at, superstoryboard.rank_of(p_queue, p_msg_id), greatest(p_due_at, present), q.max_attempts,
    superstoryboard.new_traceparent()
  from superstoryboard.queues q join superstoryboard.job_kinds k on k.queue = q.name and k.sent_publicly where q.name = p_queue
  on conflict (queue, msg_id, enqueued_at) do nothing
  returning * into adopted;
  if adopted.id is not null then
    -- A delay without end is one of a year: the job would else never be due, nor too old. A time without beginning is now.
    perform superstoryboard.open_turn(
      adopted, extract(epoch from greatest(least(p_due_at, present + interval '1 year'), present) - present));
    perform superstoryboard.emit_event(adopted, 'Accepted from the queue');
  end if;
  return adopted;
end
$$;

-- The id that a body names, where it is one; a number counts as its text. Nothing else is made text of: a few bytes of JSON may
-- stand for gigabytes of digits.
create function superstoryboard.plain_id(p_value jsonb) returns text
language plpgsql immutable as $$
declare
  id text;
begin
  if jsonb_typeof(p_value) = 'string' then
    id := p_value #>> '{}';
  elsif jsonb_typeof(p_value) = 'number' and superstoryboard.is_short(p_value) then
    id := p_value #>> '{}';
  end if;
  return case when length(id) <= 128 and id ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]*$' then id end;
end
$$;

-- True for a JSON number of at most 40 digits on either side of its point.
create function superstoryboard.is_short(p_number jsonb) returns boolean
language sql immutable as $$
  select abs(p_number::numeric) < 1e40 and scale(p_number::numeric) <= 40;
$$;

-- Why nobody should read a body: it is over the bytes or levels, or it has numbers of more digits than is_short allows. Null where
-- all is well. Bytes are those of its text, counted only once it is known to stay small.
create function superstoryboard.body_fault(p_body jsonb, p_max_bytes integer, p_max_levels integer) returns text
language plpgsql immutable as $$
declare
  -- In an array of its own, so that what is measured is not the compressed form. It takes at most 8 times the bytes of its text.
  measured jsonb := jsonb_build_array(p_body);
  long_number boolean;
begin
  if pg_column_size(measured) > 8 * p_max_bytes then
    return format('must not exceed %s bytes', p_max_bytes);
  elsif jsonb_path_exists(p_body, format('strict $.**{%s}', p_max_levels)::jsonpath) then
    return format('must not be nested deeper than %s levels', p_max_levels);
  end if;
  select exists (
    select from jsonb_path_query(p_body, 'strict $.** ? (@.type() == "number")') as n where not superstoryboard.is_short(n)
  ) into long_number;
  if long_number then
    return 'numbers must not have more than 40 digits before or after the point';
  elsif octet_length(p_body::text) > p_max_bytes then
    return format('must not exceed %s bytes', p_max_bytes);
  end if;
  return null;
end
$$;

-- A body as JSON text for the worker that reads it; null where it is too large or too strange to be read (1 MiB, 200 levels).
create function superstoryboard.body_text(p_body jsonb) returns text
language plpgsql immutable as $$
begin
  return case when superstoryboard.body_fault(p_body, 1048576, 200) is null then p_body::text end;
exception
  when others then return null;
end
$$;

-- Refuses a body that public.pgmq_send does not take.
create function superstoryboard.check_body(p_body jsonb) returns void
language plpgsql as $$
declare
  fault text := superstoryboard.body_fault(p_body, 262144, 64);
begin
  if fault is not null then
    raise exception 'message: %', fault using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- Freezes what a raw body was found to ask for, once. Fenced by the claim.
create function superstoryboard.freeze_generation_v1(
  p_job uuid, p_claim bigint, p_generation jsonb, p_provider text, p_model text, p_warnings text[]
) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with frozen as (
    update superstoryboard.jobs
    set generation = p_generation, provider = p_provider, model = p_model, warnings = warnings || p_warnings
    where id = p_job and claim = p_claim and state = 'RUNNING' and (generation is null or generation = p_generation)
    returning id
  )
  select exists (select from frozen);
$$;

-- Adopts messages above a msg_id that have no job; those that somebody holds locked are left for later. A delay is that of the
-- sender only while nobody has read the message: a preview moves its visibility too. Returns how many were adopted.
create function superstoryboard.adopt_messages(p_queue text, p_above bigint, p_limit integer) returns bigint
language plpgsql set enable_seqscan to off as $$
declare
  message record;
  adopted superstoryboard.jobs;
  adopted_count bigint := 0;
begin
  for message in execute format(
    'select m.msg_id, m.enqueued_at, m.message, case when m.read_ct = 0 then m.vt else m.enqueued_at end as due_at
     from pgmq.%I m
     where m.msg_id > $2 and not exists (select from superstoryboard.jobs j
       where j.queue = $1 and j.msg_id > $2 and j.msg_id = m.msg_id and j.enqueued_at = m.enqueued_at)
     order by m.msg_id limit $3 for update of m skip locked', 'q_' || p_queue) using p_queue, p_above, p_limit
  loop
    begin
      adopted := superstoryboard.adopt_message_v1(
        p_queue, message.msg_id, message.enqueued_at, message.due_at, message.message, 'sql', null);
      adopted_count := adopted_count + (adopted.id is not null)::integer;
    exception
      -- One that cannot be a job, as with a number at the end of all numbers, stops no other.
      when data_exception then raise warning 'message % of % cannot be adopted: %', message.msg_id, p_queue, sqlerrm;
    end;
  end loop;
  return adopted_count;
end
$$;

-- Adopts what was sent lately. Numbers are drawn before transactions commit, so the last 1,000 are looked at again; what comes
-- later than that is left to the sweep.
create function superstoryboard.adopt_new_messages(p_queue text) returns bigint
language plpgsql as $$
declare
  limit_of_look constant integer := 100;
  watermark bigint;
  newest bigint;
  adopted bigint;
begin
  perform superstoryboard.rank_of(p_queue, 0);
  execute format('select coalesce(max(msg_id), 0) from pgmq.%I', 'q_' || p_queue) into newest;
  select adopted_msg_id into watermark from superstoryboard.queues where name = p_queue;
  adopted := superstoryboard.adopt_messages(p_queue, watermark - 1000, limit_of_look);
  if adopted < limit_of_look and newest >= watermark + 100 then
    update superstoryboard.queues set adopted_msg_id = newest
    where name = (select name from superstoryboard.queues where name = p_queue for update skip locked);
  end if;
  return adopted;
end
$$;

-- True where messages are adopted as they are sent.
create function superstoryboard.adopts_at_insert(p_queue text) returns boolean
language sql stable as $$
  select exists (
    select from pg_trigger where tgrelid = to_regclass(format('pgmq.%I', 'q_' || p_queue))
      and tgname = 'superstoryboard_adopt' and tgenabled in ('O', 'A')
  );
$$;

-- Adopts the messages of one statement. A send never fails for it: what cannot be adopted now is adopted by a claim or a sweep.
create function superstoryboard.adopt_sent() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  message record;
begin
  for message in select s.msg_id, s.enqueued_at, s.vt, s.message from sent s order by s.msg_id loop
    perform superstoryboard.adopt_message_v1(tg_argv[0], message.msg_id, message.enqueued_at, message.vt, message.message, 'sql', null);
  end loop;
  return null;
exception
  when others then return null;
end
$$;

-- A truncate that restarts the numbers of a queue begins its next incarnation, as dropping and creating it does.
create function superstoryboard.note_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  is_used boolean;
begin
  execute format('select is_called from %s', pg_get_serial_sequence(format('pgmq.%I', tg_table_name), 'msg_id')) into is_used;
  if not is_used then
    update superstoryboard.queues set incarnation = incarnation + 1, adopted_msg_id = 0 where name = tg_argv[0];
  end if;
  return null;
end
$$;

-- Puts our triggers on a queue: workers are woken and messages adopted as they are sent.
create function superstoryboard.watch_queue(p_queue text) returns void
language plpgsql as $$
begin
  execute format(
    'create trigger superstoryboard_notify after insert on pgmq.%I for each statement
       execute function superstoryboard.notify_queue()', 'q_' || p_queue);
  execute format(
    'create trigger superstoryboard_adopt after insert on pgmq.%I referencing new table as sent for each statement
       when (current_setting(''superstoryboard.own_send'', true) is distinct from ''on'')
       execute function superstoryboard.adopt_sent(%L)', 'q_' || p_queue, p_queue);
  execute format(
    'create trigger superstoryboard_truncate after truncate on pgmq.%I for each statement
       execute function superstoryboard.note_truncate(%L)', 'q_' || p_queue, p_queue);
end
$$;
select superstoryboard.watch_queue(name) from superstoryboard.queues;
