-- Leases: extended by heartbeats, recovered where a worker stopped.

-- Extends the leases of jobs that still belong to their claims, in one update of narrow rows; a job missing from the result is
-- lost. A row that somebody holds locked is left as it is and counts as held; so does a job that its claim has handed over. Looks for the expired leases of others, too.
create function superstoryboard.extend_leases_v1(p_queue text, p_jobs uuid[], p_claims bigint[], p_lease_seconds integer)
returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan to off as $$
begin
  return query
    with held as (
      select t.job from unnest(p_jobs, p_claims) as asked (job, claim)
      join superstoryboard.turns t on t.job = asked.job and t.claim = asked.claim
    ), free as (
      select t.job from unnest(p_jobs, p_claims) as asked (job, claim)
      join superstoryboard.turns t on t.job = asked.job and t.claim = asked.claim
      for update of t skip locked
    ), extended as (
      update superstoryboard.turns t
      set lease_until = clock_timestamp() + make_interval(secs => p_lease_seconds), due_at = null, ready = false
      from free where t.job = free.job
    )
    select job from held
    union all
    select j.id from unnest(p_jobs, p_claims) as asked (job, claim)
    join superstoryboard.jobs j on j.id = asked.job and j.claim = asked.claim and j.state in ('STAGED', 'SUCCEEDED')
    where asked.job not in (select job from held);
  perform superstoryboard.recover_leases(p_queue, 100);
end
$$;

-- Makes jobs due whose lease has run out. One whose worker was lost before it called more than once comes back at a random time
-- within a growing span: what it was claimed together with comes apart from it.
create function superstoryboard.recover_leases(p_queue text, p_limit integer) returns bigint
language plpgsql set enable_seqscan to off as $$
declare
  present timestamptz := clock_timestamp();
  recovered bigint;
begin
  with expired as (
    select t.job from superstoryboard.turns t
    where t.queue = p_queue and t.due_at is null and t.lease_until <= present limit p_limit for update skip locked
  ), spread as (
    select j.id, random() * (2 ^ least(j.lost_claims, 6) - 1) as wait_seconds
    from expired e join superstoryboard.jobs j on j.id = e.job
  )
  update superstoryboard.turns t
  set due_at = present + make_interval(secs => s.wait_seconds), ready = s.wait_seconds = 0, lease_until = null
  from spread s where t.job = s.id;
  get diagnostics recovered = row_count;
  return recovered;
end
$$;

-- True where the claim is unchanged and its lease runs for at least p_seconds more.
create function superstoryboard.holds_lease_v1(p_job uuid, p_claim bigint, p_seconds integer) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from superstoryboard.turns
    where job = p_job and claim = p_claim and lease_until >= clock_timestamp() + make_interval(secs => p_seconds)
  );
$$;
