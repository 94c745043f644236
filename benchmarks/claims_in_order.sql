-- Claims in the order of the sends, whoever owns the jobs: what fair turns are measured against.
create or replace function superstoryboard.claim_turn(
  p_job uuid, p_turn double precision, p_worker text, p_lease_seconds integer, p_held uuid[],
  inout tried uuid[], out claimed superstoryboard.claimed_job
)
language plpgsql as $$
begin
  claimed := superstoryboard.claim_candidate(p_job, p_worker, p_lease_seconds, p_held);
end
$$;
create or replace function superstoryboard.pass_turn(p_queue text, p_turn double precision) returns void
language sql as '';
create or replace function superstoryboard.open_turn(p_job superstoryboard.jobs, p_delay_seconds double precision) returns void
language sql as $$
  insert into superstoryboard.turns (job, queue, kind, model, owner, priority, rank, due_at, ready, turn)
  values (p_job.id, p_job.queue, p_job.kind, superstoryboard.turn_model(p_job), p_job.owner, 0, p_job.rank, clock_timestamp(), true, p_job.rank);
$$;
drop index superstoryboard.turns_best, superstoryboard.turns_last, superstoryboard.turns_open;
update superstoryboard.turns set turn = rank;
