-- The event log, and how far it was pruned.

create table superstoryboard.job_events (
  sequence bigint generated always as identity primary key,
  job_id uuid not null references superstoryboard.jobs (id) on delete cascade,
  owner text not null,
  storyboard_id text,
  state text not null,
  attempt integer not null,
  progress_percent integer not null,
  message text not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table superstoryboard.job_events is 'The log that watchers follow. Sequences commit out of order: readers wait for gaps (superstoryboard/jobs/event_feed.py).';
create index job_events_created on superstoryboard.job_events (created_at);
create index job_events_job on superstoryboard.job_events (job_id, sequence);
create index job_events_storyboard on superstoryboard.job_events (storyboard_id, sequence);

-- Up to where events of the log were deleted: whoever resumes before that is told, instead of missing some.
create table superstoryboard.event_log (
  id boolean primary key default true check (id),
  pruned_sequence bigint not null default 0
) with (fillfactor = 70);
comment on table superstoryboard.event_log is 'One row. Of the events up to pruned_sequence some were deleted, by retention or with their job.';
insert into superstoryboard.event_log default values;

create function superstoryboard.note_pruned_events() returns trigger
language plpgsql as $$
begin
  update superstoryboard.event_log l set pruned_sequence = d.newest
  from (select max(sequence) as newest from deleted) d where d.newest > l.pruned_sequence;
  return null;
end
$$;
create trigger job_events_note_pruned after delete on superstoryboard.job_events
  referencing old table as deleted for each statement execute function superstoryboard.note_pruned_events();
