-- Fair turns between owners: a ready job's turn is the later of its queue's turn and the last turn of its owner there, plus 1 divided
-- by the owner's weight. Thousands of jobs of one owner so delay a single one of another by a claim or two.

create table superstoryboard.queue_turns (
  queue text primary key references superstoryboard.queues (name) on delete cascade on update cascade,
  turn double precision not null default 0
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table superstoryboard.queue_turns is
  'How far the claims of a queue are: the latest turn that was claimed. It may lag a little: no claim waits to write it.';

create function superstoryboard.begin_queue_turns() returns trigger
language plpgsql as $$
begin
  insert into superstoryboard.queue_turns (queue) values (new.name);
  return null;
end
$$;
create trigger queues_begin_turns after insert on superstoryboard.queues
  for each row execute function superstoryboard.begin_queue_turns();
insert into superstoryboard.queue_turns (queue) select name from superstoryboard.queues;

create table superstoryboard.owner_weights (
  owner text primary key,
  weight double precision not null check (weight between 0.01 and 100)
);
comment on table superstoryboard.owner_weights is
  'Owners who get more or less than the others: one of weight 2 has two jobs claimed for each of an owner of weight 1, the weight of all who are not here.';

-- How many turns one job of an owner takes.
create function superstoryboard.turn_length(p_owner text) returns double precision
language sql stable as $$
  select coalesce((select 1 / weight from superstoryboard.owner_weights where owner = p_owner), 1);
$$;

-- The turn after which a job of an owner that becomes ready now comes.
create function superstoryboard.last_turn(p_queue text, p_owner text) returns double precision
language plpgsql stable set enable_seqscan to off as $$
declare
  queues_own double precision;
  owners_last double precision;
begin
  select turn into queues_own from superstoryboard.queue_turns where queue = p_queue;
  select t.turn into owners_last from superstoryboard.turns t
  where t.queue = p_queue and t.owner = p_owner and t.ready order by t.turn desc limit 1;
  return greatest(queues_own, owners_last, 0);
end
$$;

-- True where no other transaction places jobs of the owner: it alone sees the owner's last turn. Never waits: a sender's
-- transaction may stay open for hours.
create function superstoryboard.may_place(p_queue text, p_owner text) returns boolean
language sql volatile as $$
  select pg_try_advisory_xact_lock(hashtextextended('superstoryboard.turns.' || p_queue || '.' || p_owner, 0));
$$;

-- Lets jobs take part in the claims, each with a turn of its owner's. Callers have locked their rows.
create function superstoryboard.place_turns(p_queue text, p_jobs uuid[]) returns void
language plpgsql set enable_seqscan to off as $$
begin
  with due as materialized (
    select job, owner, priority, rank from superstoryboard.turns where job = any (p_jobs)
  ), owners as materialized (
    select o.owner, superstoryboard.last_turn(p_queue, o.owner) as last, superstoryboard.turn_length(o.owner) as length
    from (select distinct owner from due) o
  ), placed as (
    select d.job, o.last + o.length * row_number() over (partition by d.owner order by d.priority, d.rank) as turn
    from due d join owners o on o.owner = d.owner
  )
  update superstoryboard.turns t set ready = true, turn = p.turn from placed p where t.job = p.job;
end
$$;

-- The job of each owner without a ready one that has been due for longest. It looks at every owner who waits.
create function superstoryboard.first_due_of_owners(p_queue text, p_present timestamptz) returns uuid[]
language plpgsql set enable_seqscan to off as $$
begin
  return array(
    with recursive owners as (
      select min(t.owner) as owner from superstoryboard.turns t where t.queue = p_queue and not t.ready and t.due_at is not null
      union all
      select (
        select min(t.owner) from superstoryboard.turns t
        where t.queue = p_queue and not t.ready and t.due_at is not null and t.owner > o.owner
      ) from owners o where o.owner is not null
    ), without as materialized (
      select o.owner from owners o where o.owner is not null
        and not exists (select from superstoryboard.turns t where t.queue = p_queue and t.owner = o.owner and t.ready)
    )
    select first.job from without w cross join lateral (
      select t.job from superstoryboard.turns t
      where t.queue = p_queue and t.owner = w.owner and not t.ready and t.due_at <= p_present
      order by t.due_at limit 1 for update skip locked
    ) first
  );
end
$$;

-- Lets jobs that have become due take part in the claims: those that have been due for longest, and where these are all of a few
-- owners, a job of every owner, so that nobody's thousands that become due at once hold up others.
create function superstoryboard.ready_turns(p_queue text) returns void
language plpgsql set enable_seqscan to off as $$
declare
  most constant integer := 100;
  few constant integer := 10;
  present timestamptz := clock_timestamp();
  due uuid[] := array(
    select job from superstoryboard.turns
    where queue = p_queue and not ready and due_at <= present order by due_at limit most for update skip locked
  );
begin
  if cardinality(due) > 0 then
    perform superstoryboard.place_turns(p_queue, due);
  end if;
  if cardinality(due) = most and few > (select count(distinct owner) from superstoryboard.turns where job = any (due)) then
    perform superstoryboard.place_turns(p_queue, superstoryboard.first_due_of_owners(p_queue, present));
  end if;
end
$$;

-- Notes how far the claims of a queue are. Where another claim notes it at this moment, that is near enough.
create function superstoryboard.pass_turn(p_queue text, p_turn double precision) returns void
language sql as $$
  update superstoryboard.queue_turns set turn = p_turn
  where queue = (select queue from superstoryboard.queue_turns where queue = p_queue and turn < p_turn for update skip locked);
$$;
