-- name: hold_event_feed
select held, last_sequence from superstoryboard.hold_event_feed_v1(%(name)s, %(holder)s, %(start)s, %(lease)s);

-- name: advance_event_feed
select superstoryboard.advance_event_feed_v1(%(name)s, %(holder)s, %(sequence)s, %(lease)s) as held;

-- name: release_event_feed
select superstoryboard.release_event_feed_v1(%(name)s, %(holder)s);

-- name: events_with_kind
select e.*, j.kind
from superstoryboard.job_events e
join superstoryboard.jobs j on j.id = e.job_id
where e.sequence > %(after)s and e.sequence <= %(until)s
order by e.sequence
limit %(page)s;
