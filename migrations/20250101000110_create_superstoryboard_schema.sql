-- Tables of the pipeline. Postgres is the only truth; every other place may be lost and is recovered from here.
create schema if not exists superstoryboard;

create table superstoryboard.queues (
  name text primary key,
  max_attempts integer not null default 3 check (max_attempts between 1 and 100),
  max_staged integer not null default 500,
  paused boolean not null default false,
  paused_by text,
  paused_at timestamptz,
  queue_table oid,
  incarnation bigint not null default 0,
  adopted_msg_id bigint not null default 0
);
comment on column superstoryboard.queues.max_attempts is 'Attempts of a job that came without a number of its own; frozen into the job.';
comment on column superstoryboard.queues.paused_by is 'Who paused the queue last or let it go on, and paused_at when.';
comment on column superstoryboard.queues.max_staged is 'No new claims while so many jobs of the queue wait for the asset_writer.';
comment on column superstoryboard.queues.incarnation is
  'How often the queue was dropped and created again; queue_table is the table that was last seen. Its messages are numbered anew.';
comment on column superstoryboard.queues.adopted_msg_id is 'Up to here claims have looked for messages without a job, save the last 1,000.';
comment on table superstoryboard.queues is 'PGMQ queues of this system. A paused queue is not claimed from, save for what is already paid.';

insert into superstoryboard.queues (name, queue_table) values
  ('image_generation_queue', to_regclass('pgmq.q_image_generation_queue')),
  ('video_generation_queue', to_regclass('pgmq.q_video_generation_queue'));

create table superstoryboard.job_kinds (
  name text primary key check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  queue text not null references superstoryboard.queues (name),
  sent_publicly boolean not null default false,
  media text check (media in ('image', 'video')),
  bucket text,
  link text check (link ~ '^[a-z][A-Za-z0-9]*$'),
  charged boolean not null default false,
  max_results integer not null default 1 check (max_results between 1 and 100),
  check ((media is null) = (bucket is null))
);
comment on table superstoryboard.job_kinds is
  'What a kind of job is; superstoryboard/domain/kinds.py has the same. Several kinds may share a queue.';
comment on column superstoryboard.job_kinds.sent_publicly is
  'A message that anyone sends to the queue is a job of this kind; at most one kind of a queue.';
comment on column superstoryboard.job_kinds.media is 'What its results are; null where their bytes say it, and with it the bucket.';
comment on column superstoryboard.job_kinds.link is
  'Begins the keys under which a scene or character shows the result, as in imageUrl; null: the media of the bytes.';
comment on column superstoryboard.job_kinds.charged is 'Its calls are paid for: it has a model, a gate and rows in the ledger.';
create unique index job_kinds_sent_publicly on superstoryboard.job_kinds (queue) where sent_publicly;
create index job_kinds_queue on superstoryboard.job_kinds (queue);

insert into superstoryboard.job_kinds (name, queue, sent_publicly, media, bucket, link, charged, max_results) values
  ('image', 'image_generation_queue', true, 'image', 'storyboard-images', 'image', true, 1),
  ('video', 'video_generation_queue', true, 'video', 'storyboard-videos', 'video', true, 1);

create table superstoryboard.jobs (
  id uuid primary key,
  kind text not null references superstoryboard.job_kinds (name),
  owner text not null,
  actor text,
  writes_as text[],
  request_id text,
  submit_hash text,
  storyboard_id text,
  scene_id text,
  character_id text,
  raw_body jsonb,
  generation jsonb,
  provider text not null default '',
  model text not null default '',
  labels jsonb not null default '{}',
  priority integer not null default 0 check (priority between -1 and 1),
  traceparent text not null default '',
  state text not null default 'QUEUED' check (state in (
    'QUEUED', 'RUNNING', 'STAGED', 'RETRYING', 'SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED'
  )),
  attempt integer not null default 0,
  max_attempts integer not null default 3,
  claim bigint not null default 0,
  claim_spent_attempt boolean not null default false,
  lost_claims integer not null default 0,
  orderly_claim bigint not null default 0,
  worker text,
  queue text not null references superstoryboard.queues (name),
  msg_id bigint,
  enqueued_at timestamptz,
  rank bigint not null default 0,
  scheduled_at timestamptz not null default clock_timestamp(),
  progress_percent integer not null default 0
    check (progress_percent between 0 and 99 or progress_percent = 100 and state = 'SUCCEEDED'),
  error jsonb,
  warnings text[] not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  ended_at timestamptz,
  unique (owner, request_id),
  unique (queue, msg_id, enqueued_at)
) with (fillfactor = 70);
comment on column superstoryboard.jobs.writes_as is
  'Names under which a storyboard may belong to who made the job; null: it acts for the installation and may write all.';
comment on column superstoryboard.jobs.claim is 'Raised by every claim, never lowered: fences every step of the holder.';
comment on column superstoryboard.jobs.actor is 'The service that made the job on behalf of its owner; null where the owner did.';
comment on column superstoryboard.jobs.attempt is 'Attempts spent; a release gives the one of its claim back.';
comment on column superstoryboard.jobs.priority is 'Among the jobs of its owner: -1 INTERACTIVE, 0 NORMAL, 1 BATCH.';
comment on column superstoryboard.jobs.lost_claims is 'Claims in a row whose worker was lost before it called; they spend no attempt. One that ends in order begins anew.';
comment on column superstoryboard.jobs.orderly_claim is
  'The last claim before the job was enqueued, or that ended in a wait or a release: those since then are claims without an end.';
comment on column superstoryboard.jobs.scheduled_at is 'When the job could be claimed first since it was last enqueued; its age counts from here.';
comment on column superstoryboard.jobs.rank is
  'Place in the order of the sends to its queue (superstoryboard.rank_of): the lower of two results for one entity is superseded.';
comment on column superstoryboard.jobs.raw_body is 'Message body of a job that did not come through ingest.';
comment on column superstoryboard.jobs.generation is 'What was asked for, model and parameters frozen; null until a raw body was found valid.';

create index jobs_owner_created on superstoryboard.jobs (owner, created_at desc, id desc);
create index jobs_created on superstoryboard.jobs (created_at desc, id desc);
create index jobs_storyboard on superstoryboard.jobs (storyboard_id, created_at desc, id desc);
create index jobs_ended on superstoryboard.jobs (ended_at) where state in ('SUCCEEDED', 'FAILED', 'CANCELLED');
create index jobs_dead_lettered on superstoryboard.jobs (ended_at) where state = 'DEAD_LETTERED';
create index jobs_scheduled on superstoryboard.jobs (scheduled_at) where state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING');
create index jobs_claimed_often on superstoryboard.jobs (claim) where state in ('QUEUED', 'RUNNING', 'RETRYING') and claim > 5;
create index jobs_active on superstoryboard.jobs (queue, state)
  where state in ('QUEUED', 'RUNNING', 'STAGED', 'RETRYING', 'DEAD_LETTERED');

create table superstoryboard.job_moves (
  from_state text,
  to_state text,
  primary key (from_state, to_state)
);
comment on table superstoryboard.job_moves is 'The legal moves of a job; a trigger refuses any other.';
insert into superstoryboard.job_moves values
  ('QUEUED', 'RUNNING'), ('QUEUED', 'FAILED'), ('QUEUED', 'CANCELLED'),
  ('RUNNING', 'QUEUED'), ('RUNNING', 'STAGED'), ('RUNNING', 'RETRYING'), ('RUNNING', 'FAILED'),
  ('RUNNING', 'DEAD_LETTERED'), ('RUNNING', 'CANCELLED'),
  ('RETRYING', 'RUNNING'), ('RETRYING', 'FAILED'), ('RETRYING', 'DEAD_LETTERED'), ('RETRYING', 'CANCELLED'),
  ('STAGED', 'SUCCEEDED'), ('STAGED', 'RETRYING'), ('STAGED', 'DEAD_LETTERED'), ('STAGED', 'CANCELLED'),
  ('FAILED', 'QUEUED'), ('DEAD_LETTERED', 'QUEUED'), ('CANCELLED', 'QUEUED'), ('DEAD_LETTERED', 'RUNNING'), ('DEAD_LETTERED', 'STAGED'),
  ('CANCELLED', 'STAGED'),
  ('DEAD_LETTERED', 'CANCELLED');

create function superstoryboard.check_job_move() returns trigger
language plpgsql as $$
begin
  if not exists (
    select from superstoryboard.job_moves where from_state = old.state and to_state = new.state
  ) then
    raise exception 'job % cannot move from % to %', old.id, old.state, new.state using errcode = 'check_violation';
  end if;
  return new;
end
$$;
create trigger jobs_check_move before update of state on superstoryboard.jobs
  for each row when (old.state is distinct from new.state) execute function superstoryboard.check_job_move();

create function superstoryboard.check_job_claim() returns trigger
language plpgsql as $$
begin
  raise exception 'claim of job % cannot fall from % to %', old.id, old.claim, new.claim using errcode = 'check_violation';
end
$$;
create trigger jobs_check_claim before update of claim on superstoryboard.jobs
  for each row when (new.claim < old.claim) execute function superstoryboard.check_job_claim();

create function superstoryboard.check_job_progress() returns trigger
language plpgsql as $$
begin
  raise exception 'progress of job % cannot fall from % to %', old.id, old.progress_percent, new.progress_percent
    using errcode = 'check_violation';
end
$$;
-- A job that had ended and starts again starts from the beginning.
create trigger jobs_check_progress before update of progress_percent on superstoryboard.jobs
  for each row when (new.progress_percent < old.progress_percent and old.state not in ('FAILED', 'DEAD_LETTERED', 'CANCELLED'))
  execute function superstoryboard.check_job_progress();

create table superstoryboard.provider_calls (
  id bigint generated always as identity primary key,
  job_id uuid not null references superstoryboard.jobs (id) on delete cascade,
  claim bigint not null,
  call_hash text not null,
  route text not null,
  shape text not null check (shape in ('ANSWER', 'OPERATION')),
  model text not null,
  state text not null default 'INTENT' check (state in ('INTENT', 'ACCEPTED', 'SETTLED', 'UNKNOWN')),
  operation_name text,
  paid boolean,
  waived_by text,
  search_until timestamptz,
  search_over boolean not null default false,
  error jsonb,
  created_at timestamptz not null default clock_timestamp(),
  accepted_at timestamptz,
  settled_at timestamptz,
  asked_again_at timestamptz,
  parked boolean not null default false
) with (fillfactor = 70);
comment on table superstoryboard.provider_calls is
  'The ledger. INTENT is committed before a call is sent; ACCEPTED holds a running operation; SETTLED says whether it was paid; UNKNOWN was perhaps paid.';
comment on column superstoryboard.provider_calls.shape is
  'ANSWER: the bytes come in the answer, and a call without a response may be repeated. OPERATION: the answer names an operation that is polled, and no call is repeated by itself.';
comment on column superstoryboard.provider_calls.search_until is
  'Until when the operation of a call without an answer is looked for at the provider; null where that is of no use.';
comment on column superstoryboard.provider_calls.search_over is
  'It is looked for no more: the last look, which follows search_until however late, was given out, or nothing can bring the name.';
comment on column superstoryboard.provider_calls.waived_by is
  'Who let this call go, so that another may follow it. It is never resumed, and its name, should it still come, is only kept.';
comment on column superstoryboard.provider_calls.error is
  'What came of a call that gave no artifact; raw_answer is what the provider sent, cut and without media bytes, where it was not understood.';
comment on column superstoryboard.provider_calls.asked_again_at is
  'When a redrive asked once more for an operation that the provider had said is gone.';
comment on column superstoryboard.provider_calls.parked is
  'Its job has ended, so that claims need not look at it; false again where the job starts again.';
create unique index provider_calls_unsettled on superstoryboard.provider_calls (job_id) where state in ('INTENT', 'ACCEPTED');
create index provider_calls_job on superstoryboard.provider_calls (job_id);
create index provider_calls_searched on superstoryboard.provider_calls (created_at)
  where state = 'INTENT' and search_until is not null and not parked;
create index provider_calls_accepted on superstoryboard.provider_calls (accepted_at) where state = 'ACCEPTED' and not parked;

create table superstoryboard.artifacts (
  id uuid primary key,
  job_id uuid not null references superstoryboard.jobs (id) on delete cascade,
  call_id bigint references superstoryboard.provider_calls (id) on delete cascade,
  claim bigint not null,
  index integer not null default 0 check (index >= 0),
  state text not null default 'UPLOADING' check (state in ('UPLOADING', 'STAGED', 'WRITTEN', 'DISCARDED')),
  staging_bucket text not null,
  staging_key text not null unique,
  bucket text,
  path text,
  media_type text,
  size_bytes bigint,
  sha256 text,
  width integer,
  height integer,
  duration_ms integer,
  write_attempt integer not null default 0,
  refusals integer not null default 0,
  doubts integer not null default 0,
  doubted_at timestamptz,
  uploaded_at timestamptz,
  lease_until timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  missing_since timestamptz,
  staged_at timestamptz,
  ended_at timestamptz,
  cleaned_at timestamptz,
  parked boolean not null default false,
  unique (bucket, path),
  check (state in ('UPLOADING', 'DISCARDED') or num_nulls(bucket, path, media_type, size_bytes, sha256, width, height) = 0)
) with (fillfactor = 70);
comment on column superstoryboard.artifacts.index is 'Which result of its job this is, from 0: those of one claim are handed over together.';
comment on column superstoryboard.artifacts.call_id is
  'The call whose answer these bytes are: the row and its staging key are committed with the intent to call.';
comment on column superstoryboard.artifacts.missing_since is 'When Storage said for the first time that the bytes are not in staging.';
comment on column superstoryboard.artifacts.refusals is 'Writes in a row that the database or the process refused; at a limit the job is buried.';
comment on column superstoryboard.artifacts.doubts is 'Reads in a row at which the staged bytes seemed gone or wrong, the first at doubted_at.';
comment on column superstoryboard.artifacts.uploaded_at is 'When the object was brought to its final place by a write that could not finish the job.';
comment on column superstoryboard.artifacts.lease_until is 'Nobody takes it before: another writes it, or a write is to wait. Infinity: refused for good.';
comment on column superstoryboard.artifacts.cleaned_at is 'When the objects that are of no more use were removed.';
comment on column superstoryboard.artifacts.parked is 'As that of provider_calls.';
comment on table superstoryboard.artifacts is 'The truth of the hand-off from workers to the asset_writer; a broker delivery only points here.';
create index artifacts_call on superstoryboard.artifacts (call_id);
create index artifacts_job on superstoryboard.artifacts (job_id);
create unique index artifacts_results on superstoryboard.artifacts (job_id, claim, index) where state <> 'DISCARDED';
create index artifacts_to_clean on superstoryboard.artifacts (ended_at)
  where cleaned_at is null and state in ('DISCARDED', 'WRITTEN');
create index artifacts_uploading on superstoryboard.artifacts (created_at) where state = 'UPLOADING';
create index artifacts_to_rescue on superstoryboard.artifacts (created_at) where state = 'UPLOADING' and call_id is not null and not parked;
create index artifacts_to_write on superstoryboard.artifacts ((coalesce(lease_until, staged_at))) where state = 'STAGED';
create index artifacts_staged on superstoryboard.artifacts (staged_at) where state = 'STAGED';

create table superstoryboard.assets (
  id uuid primary key,
  job_id uuid references superstoryboard.jobs (id) on delete set null,
  index integer not null default 0,
  bucket text not null,
  path text not null,
  url text not null,
  url_expires_at timestamptz,
  media_type text not null,
  size_bytes bigint not null,
  sha256 text not null,
  width integer not null,
  height integer not null,
  duration_ms integer,
  created_at timestamptz not null default clock_timestamp(),
  unique (bucket, path),
  unique (job_id, index)
);
comment on column superstoryboard.assets.index is 'Which result of the job it is; an entity shows the lowest.';
comment on table superstoryboard.assets is
  'Stored objects; the id is that of the artifact it came from. A row outlives its job: it names the object as long as that is stored.';

create table superstoryboard.entity_links (
  storyboard_id text,
  entity_type text check (entity_type in ('scene', 'character')),
  entity_id text,
  link text,
  rank bigint not null,
  job_id uuid not null,
  linked_at timestamptz not null default clock_timestamp(),
  primary key (storyboard_id, entity_type, entity_id, link)
);
comment on table superstoryboard.entity_links is 'Which job an entity shows under the keys of a link; only a job of a higher rank takes its place.';
