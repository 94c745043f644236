-- Shows in a job what it waits for, without ending its attempt: Storage refuses until somebody mends the set-up. Fenced by the
-- claim where one is given. The same error is told once.
create function superstoryboard.note_job_error_v1(p_job uuid, p_claim bigint, p_error jsonb) returns boolean
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  update superstoryboard.jobs j set error = p_error
  where j.id = p_job and j.state in ('RUNNING', 'STAGED') and j.claim = coalesce(p_claim, j.claim)
    and j.error is distinct from p_error
  returning * into job;
  if job.id is null then
    return false;
  end if;
  perform superstoryboard.emit_event(job, p_error ->> 'message');
  return true;
end
$$;
