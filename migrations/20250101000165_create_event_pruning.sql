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
