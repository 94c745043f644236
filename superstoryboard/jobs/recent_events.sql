-- name: events_between
select * from superstoryboard.job_events
where sequence > %(after)s and sequence <= %(until)s
order by sequence
limit %(limit)s;
