-- The sweep: runs the duties, each by itself or all together.

create type superstoryboard.sweep_limits as (
  max_age interval, max_claims bigint, event_age interval, job_age interval, archive_age interval, dead_letter_age interval
);

-- The duties in the order in which they are run.
create function superstoryboard.sweep_duties_v1() returns setof text
language sql immutable as $$
  values ('cancel_removed'), ('adopt_messages'), ('recover_leases'), ('bury_overdue'), ('bury_staged'), ('discard_uploads'), ('discard_cancelled'),
    ('delete_events'),
    ('discard_dead_letters'), ('delete_jobs'), ('delete_archives'), ('delete_quota_uses'), ('delete_tokens'),
    ('delete_lapsed_owners');
$$;

-- Runs one duty, in a transaction of its own where the caller can: what it changed, or null where another sweep is at it. A row
-- that another session holds costs it a moment. Of a duty that goes through the queues, `error` says for which of them it failed,
-- as for one that was dropped; the others had their turn.
create function superstoryboard.sweep_duty_v1(
  p_duty text, p_limits superstoryboard.sweep_limits, out changed bigint, out error text
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '20ms' as $$
declare
  q text;
begin
  if not pg_try_advisory_xact_lock(hashtext('superstoryboard.sweep.' || p_duty)) then
    return;
  elsif p_duty not in ('cancel_removed', 'adopt_messages', 'delete_archives') then
    changed := superstoryboard.sweep_at_once(p_duty, p_limits);
    return;
  end if;
  changed := 0;
  for q in select name from superstoryboard.queues order by name loop
    begin
      changed := changed + case p_duty
        when 'cancel_removed' then superstoryboard.sweep_removed_messages(q, 1000)
        when 'adopt_messages' then superstoryboard.sweep_adopt_messages(q, 1000)
        when 'delete_archives' then superstoryboard.sweep_archives(q, p_limits.archive_age, 5000)
      end;
    exception
      when undefined_table then
        error := concat_ws('; ', error, format('%s: the queue is missing (SQLSTATE %s)', q, sqlstate));
      when others then
        error := concat_ws('; ', error, format('%s: SQLSTATE %s', q, sqlstate));
        raise warning 'the duty % failed for %: %', p_duty, q, sqlerrm;
    end;
  end loop;
end
$$;

-- Runs a duty that goes through the jobs of all queues at once.
create function superstoryboard.sweep_at_once(p_duty text, p_limits superstoryboard.sweep_limits) returns bigint
language plpgsql as $$
begin
  return case p_duty
    when 'recover_leases' then superstoryboard.sweep_expired_leases(1000)
    when 'bury_overdue' then superstoryboard.sweep_overdue_jobs(p_limits.max_age, p_limits.max_claims, 1000)
    when 'bury_staged' then superstoryboard.sweep_long_staged(p_limits.max_age, 1000)
    when 'discard_uploads' then superstoryboard.sweep_orphaned_uploads('1 hour', 1000)
    when 'discard_cancelled' then superstoryboard.sweep_cancelled_artifacts('1 day', 1000)
    when 'delete_events' then superstoryboard.sweep_old_events(p_limits.event_age, 5000)
    when 'discard_dead_letters' then superstoryboard.sweep_dead_letters(p_limits.dead_letter_age, 1000)
    when 'delete_jobs' then superstoryboard.sweep_old_jobs(p_limits.job_age, 1000)
    when 'delete_quota_uses' then superstoryboard.sweep_quota_uses(5000)
    when 'delete_tokens' then superstoryboard.sweep_service_tokens('90 days', 1000)
    when 'delete_lapsed_owners' then superstoryboard.sweep_lapsed_owners(1000)
  end;
end
$$;

-- Runs every duty once, for those who call SQL only (pg_cron): each with what it changed, or the error that stopped it and nothing
-- else. A duty that another sweep is at is left out. The ages are those of RETENTION_… and JOB_MAX_AGE_DAYS for the other callers.
create function superstoryboard.sweep(
  p_max_age interval default '7 days', p_max_claims bigint default 1000, p_event_age interval default '30 days',
  p_job_age interval default '400 days', p_archive_age interval default '90 days', p_dead_letter_age interval default null
) returns table (duty text, changed bigint, error text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  for duty in select superstoryboard.sweep_duties_v1() loop
    begin
      select d.changed, d.error into changed, error from superstoryboard.sweep_duty_v1(
        duty, row(p_max_age, p_max_claims, p_event_age, p_job_age, p_archive_age, p_dead_letter_age)::superstoryboard.sweep_limits) d;
    exception when others then
      changed := null;
      error := format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
    end;
    if error is not null then
      raise warning 'the duty % of the sweep failed: %', duty, error;
    end if;
    if changed is not null or error is not null then
      return next;
    end if;
  end loop;
end
$$;
