-- name: sequences_after
select sequence from superstoryboard.job_events
where sequence > %(position)s
order by sequence
limit %(page)s;

-- name: newest_sequence
select coalesce(max(sequence), 0) as sequence from superstoryboard.job_events;

-- name: writers
select virtualtransaction as writer from pg_locks
where locktype = 'relation' and relation = 'superstoryboard.job_events'::regclass
  and granted and mode = 'RowExclusiveLock'
  and database = (select oid from pg_database where datname = current_database());
