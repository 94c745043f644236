-- How far the event log was published to a broker: one row per feed, so that nothing is skipped after any restart.
create table superstoryboard.event_feeds (
  name text primary key,
  last_sequence bigint not null,
  holder uuid,
  held_until timestamptz not null default '-infinity',
  moved_at timestamptz not null default clock_timestamp()
) with (fillfactor = 70);
comment on table superstoryboard.event_feeds is
  'Feeds of the event log. All events up to last_sequence were confirmed by the broker; those after it are published next.';
comment on column superstoryboard.event_feeds.holder is 'The process that publishes, until held_until.';

-- Take the lease of a feed, or extend it; a feed that is not there yet begins after p_start. Returns how far it is in any case.
create function superstoryboard.hold_event_feed_v1(
  p_name text, p_holder uuid, p_start bigint, p_lease_seconds double precision, out held boolean, out last_sequence bigint
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into superstoryboard.event_feeds (name, last_sequence) values (p_name, p_start) on conflict (name) do nothing;
  update superstoryboard.event_feeds f
  set holder = p_holder, held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
  where f.name = p_name and (f.holder = p_holder or f.held_until < clock_timestamp());
  held := found;
  select f.last_sequence into last_sequence from superstoryboard.event_feeds f where f.name = p_name;
end
$$;

-- What the broker has confirmed moves the feed, whoever holds it, and never back. False where another does: stop publishing.
create function superstoryboard.advance_event_feed_v1(
  p_name text, p_holder uuid, p_sequence bigint, p_lease_seconds double precision
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  held boolean;
begin
  update superstoryboard.event_feeds f
  set last_sequence = greatest(f.last_sequence, p_sequence), moved_at = clock_timestamp(),
      held_until = case when f.holder = p_holder
        then clock_timestamp() + make_interval(secs => p_lease_seconds) else f.held_until end
  where f.name = p_name
  returning f.holder = p_holder into held;
  return coalesce(held, false);
end
$$;

-- Give the lease back, so that another process goes on at once.
create function superstoryboard.release_event_feed_v1(p_name text, p_holder uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update superstoryboard.event_feeds set holder = null, held_until = '-infinity' where name = p_name and holder = p_holder;
$$;
