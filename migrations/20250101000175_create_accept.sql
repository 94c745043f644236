-- The way in through ingest: one call accepts a job or a batch and returns the jobs as callers see them.

-- Inserts one job per item and enqueues only those that are new. Items are taken in the order of request_id, so that two
-- batches never deadlock. The id comes from the caller, so that a repeated call is harmless.
-- Item: {index, id, kind, owner, writes_as?, source_storyboard?, request_id?, submit_hash, generation, provider, model, labels,
-- max_attempts?, delay_seconds, traceparent, warnings}. Outcome: created, existing, conflict, NOT_YOURS or SOURCE_NOT_YOURS.
create function superstoryboard.accept_jobs_v1(p_items jsonb)
returns table (item_index integer, outcome text, job superstoryboard.job_records)
language plpgsql as $$
declare
  item jsonb;
  new_job superstoryboard.jobs;
  existing superstoryboard.jobs;
  refused jsonb := superstoryboard.refused_items(p_items);
begin
  for item in select value from jsonb_array_elements(p_items) order by value ->> 'request_id', (value ->> 'index')::int loop
    item_index := (item ->> 'index')::integer;
    insert into superstoryboard.jobs (
      id, kind, owner, writes_as, request_id, submit_hash, storyboard_id, scene_id, character_id, generation, provider, model, labels,
      max_attempts, queue, traceparent, warnings
    )
    select (item ->> 'id')::uuid, item ->> 'kind', item ->> 'owner', superstoryboard.names_of(item), item ->> 'request_id', item ->> 'submit_hash',
      item -> 'generation' ->> 'storyboardId', item -> 'generation' ->> 'sceneId', item -> 'generation' ->> 'characterId',
      item -> 'generation', item ->> 'provider', item ->> 'model', item -> 'labels', coalesce((item ->> 'max_attempts')::integer, q.max_attempts),
      q.name, item ->> 'traceparent', array(select jsonb_array_elements_text(item -> 'warnings'))
    from superstoryboard.job_kinds k join superstoryboard.queues q on q.name = k.queue where k.name = item ->> 'kind'
      and not refused ? (item ->> 'index')
    on conflict do nothing
    returning * into new_job;
    if new_job.id is null then
      select * into existing from superstoryboard.jobs j
      where j.id = (item ->> 'id')::uuid or j.owner = item ->> 'owner' and j.request_id = item ->> 'request_id';
      select r.* into job from superstoryboard.job_records r where r.id = existing.id;
      outcome := case when existing.id is null then refused ->> (item ->> 'index') when existing.submit_hash = item ->> 'submit_hash' then 'existing' else 'conflict' end;
    else
      perform superstoryboard.enqueue_job(new_job, item -> 'generation', coalesce((item ->> 'delay_seconds')::integer, 0), 'Accepted');
      select r.* into job from superstoryboard.job_records r where r.id = new_job.id;
      outcome := 'created';
    end if;
    return next;
  end loop;
end
$$;
