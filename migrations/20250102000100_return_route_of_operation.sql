-- A claimed job says by which route its running operation was ordered: it is polled there, whatever model is configured by now.
-- Workers of the release before read the other columns, by name, and go on.

alter type superstoryboard.claimed_job add attribute call_route text;

-- Turns one locked message into a claimed job; null where there is nothing to do for it.
create or replace function superstoryboard.take_message(
  p_queue text, p_msg_id bigint, p_enqueued_at timestamptz, p_body jsonb, p_worker text
) returns superstoryboard.claimed_job
language plpgsql as $$
declare
  job superstoryboard.jobs;
  call superstoryboard.provider_calls;
  lost superstoryboard.provider_calls;
  upload superstoryboard.artifacts;
  spends boolean;
begin
  select * into job from superstoryboard.jobs
  where queue = p_queue and msg_id = p_msg_id and enqueued_at = p_enqueued_at for update;
  if job.id is null then
    job := superstoryboard.adopt_message_v1(p_queue, p_msg_id, p_enqueued_at, p_body, 'sql');
  end if;
  if job.state = 'STAGED' then
    perform pgmq.set_vt(p_queue, p_msg_id, 86400);
    return null;
  end if;
  if job.state not in ('QUEUED', 'RUNNING', 'RETRYING') then
    perform superstoryboard.complete_message(p_queue, p_msg_id, 'archive');
    return null;
  end if;
  select * into call from superstoryboard.provider_calls where job_id = job.id and state in ('INTENT', 'ACCEPTED') for update;
  select * into upload from superstoryboard.artifacts
  where job_id = job.id and state = 'UPLOADING' order by created_at desc limit 1;
  if job.kind = 'video' and call.state = 'INTENT' then
    -- Its worker is gone between sending and the name: perhaps paid, so a person decides.
    update superstoryboard.provider_calls set state = 'UNKNOWN' where id = call.id;
    perform superstoryboard.bury_due_job(job, jsonb_build_object(
      'class', 'UNKNOWN_OUTCOME', 'code', 'SUBMIT_INTERRUPTED',
      'message', 'The worker stopped while it submitted; the video may have been paid for'
    ), 'Dead letter: it is unknown whether the submit was accepted');
    return null;
  end if;
  spends := not (coalesce(call.state = 'ACCEPTED', false) or upload.id is not null);
  if spends then
    select * into lost from superstoryboard.provider_calls
    where job_id = job.id and state = 'SETTLED' and paid and waived_by is null order by id desc limit 1;
    if lost.id is not null then
      -- Its worker stopped between settling a paid call that left nothing and burying the job: a person decides.
      perform superstoryboard.bury_due_job(job, coalesce(lost.error, jsonb_build_object(
        'class', 'UNKNOWN_OUTCOME', 'code', 'PAID_FOR_NOTHING', 'message', 'A call was paid for and left nothing to store'
      )), 'Dead letter: what was paid for left nothing to store');
      return null;
    end if;
  end if;
  if spends and job.attempt >= job.max_attempts then
    perform superstoryboard.bury_due_job(job, coalesce(job.error, jsonb_build_object(
      'class', 'TRANSIENT', 'code', 'WORKER_LOST', 'message', 'Every worker that took the job stopped before it ended'
    )), format('Dead letter after %s attempts', job.attempt));
    return null;
  end if;
  update superstoryboard.jobs
  set state = 'RUNNING', claim = claim + 1, worker = p_worker, claim_spent_attempt = spends,
      attempt = attempt + spends::integer, started_at = coalesce(started_at, clock_timestamp()), progress_percent = 5
  where id = job.id
  returning * into job;
  perform superstoryboard.emit_event(job, case when call.state = 'ACCEPTED' then 'Resumed' else 'Started' end);
  return row(
    job.id, job.kind, job.owner, job.claim, job.attempt, job.max_attempts, job.queue, job.msg_id,
    job.generation, job.raw_body, job.model, job.traceparent,
    case when call.state = 'ACCEPTED' then call.id end, call.model, call.operation_name,
    extract(epoch from clock_timestamp() - call.accepted_at)::double precision,
    upload.id, upload.staging_key, upload.sha256, upload.size_bytes, call.route
  )::superstoryboard.claimed_job;
end
$$;
