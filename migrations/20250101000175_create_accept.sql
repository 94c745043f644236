-- The way in through ingest: one call accepts a job or a batch and returns the jobs as callers see them.

-- The row of an item of accept_jobs_v1; null where there is one already.
create function superstoryboard.insert_job(p_item jsonb) returns superstoryboard.jobs
language plpgsql as $$
declare
  new_job superstoryboard.jobs;
begin
  insert into superstoryboard.jobs (
    id, kind, owner, actor, writes_as, request_id, submit_hash, storyboard_id, scene_id, character_id, generation, provider, model, labels,
    priority, max_attempts, queue, traceparent, warnings
  )
  select (p_item ->> 'id')::uuid, p_item ->> 'kind', p_item ->> 'owner', p_item ->> 'actor', superstoryboard.names_of(p_item), p_item ->> 'request_id', p_item ->> 'submit_hash',
    p_item -> 'generation' ->> 'storyboardId', p_item -> 'generation' ->> 'sceneId', p_item -> 'generation' ->> 'characterId',
    p_item -> 'generation', p_item ->> 'provider', p_item ->> 'model', p_item -> 'labels',
    coalesce((p_item ->> 'priority')::integer, 0), coalesce((p_item ->> 'max_attempts')::integer, q.max_attempts),
    q.name, p_item ->> 'traceparent', array(select jsonb_array_elements_text(p_item -> 'warnings'))
  from superstoryboard.job_kinds k join superstoryboard.queues q on q.name = k.queue where k.name = p_item ->> 'kind'
  on conflict do nothing
  returning * into new_job;
  return new_job;
end
$$;

-- Inserts one job per item and enqueues only those that are new. Items are taken in the order of request_id, so that two
-- batches never deadlock. The id comes from the caller, so that a repeated call is harmless.
-- One that a quota forbids is `refused`, with {quota, limit, retry_seconds, message} in `refusal`.
-- Item: {index, id, kind, owner, actor?, writes_as?, source_storyboard?, quota_scope?, request_id?, submit_hash, generation, provider,
-- model, labels, priority?, max_attempts?, delay_seconds, traceparent, warnings}. Outcome: created, existing, conflict, refused, NOT_YOURS
-- or SOURCE_NOT_YOURS.
create function superstoryboard.accept_jobs_v1(p_items jsonb)
returns table (item_index integer, outcome text, job superstoryboard.job_records, refusal jsonb)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item jsonb;
  new_job superstoryboard.jobs;
  existing superstoryboard.jobs;
  refused jsonb;
begin
  perform superstoryboard.lock_quotas(p_items);
  refused := superstoryboard.refused_items(p_items);
  for item in select value from jsonb_array_elements(p_items) order by value ->> 'request_id', (value ->> 'index')::int loop
    item_index := (item ->> 'index')::integer;
    refusal := case when not refused ? (item ->> 'index') then superstoryboard.take_quota_of_item(item) end;
    new_job := null;
    if refusal is not null then
      job := null;
      outcome := 'refused';
      return next;
      continue;
    elsif not refused ? (item ->> 'index') then
      new_job := superstoryboard.insert_job(item);
    end if;
    if new_job.id is null then
      select * into existing from superstoryboard.jobs j
      where j.id = (item ->> 'id')::uuid or j.owner = item ->> 'owner' and j.request_id = item ->> 'request_id';
      select r.* into job from superstoryboard.job_records r where r.id = existing.id;
      outcome := case when existing.id is null then refused ->> (item ->> 'index')
        when existing.submit_hash = item ->> 'submit_hash' then 'existing' else 'conflict' end;
    else
      perform superstoryboard.enqueue_job(new_job, coalesce((item ->> 'delay_seconds')::integer, 0),
        coalesce('Accepted from ' || new_job.actor, 'Accepted'));
      select r.* into job from superstoryboard.job_records r where r.id = new_job.id;
      outcome := 'created';
    end if;
    return next;
  end loop;
end
$$;
