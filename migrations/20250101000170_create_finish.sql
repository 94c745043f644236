-- The finishing transaction: link, job, queue message and event commit together (SPEC G2).

-- A time as kv rows write it.
create function superstoryboard.kv_time(p_time timestamptz) returns text
language sql stable as $$
  select to_char(p_time at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- An object with the keys of a patch; a key that the patch has as null is taken away.
create function superstoryboard.patched(p_value jsonb, p_patch jsonb) returns jsonb
language sql immutable as $$
  select (p_value || p_patch)
    - coalesce((select array_agg(key) from jsonb_each(p_patch) where value = 'null'), array[]::text[])
$$;

-- A trigger that somebody has on the table finds tables of `public` here, as it does for other clients.
-- Sets keys of the entity in its kv rows, and takes those away that the patch has as null. Returns whether the entity exists. Callers have locked the rows.
-- An older row that names no storyboard may be anyone's: for a caller of these names it counts only where the storyboard lists the
-- entity. Null names act for the installation.
create function superstoryboard.patch_entity(
  p_kv regclass, p_storyboard text, p_type text, p_entity text, p_patch jsonb, p_names text[]
) returns boolean
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  row_key text;
  entity_key text := format('%s:%s:%s', p_type, p_storyboard, p_entity);
  list_name text := p_type || 's';
  board jsonb;
  item record;
  linked boolean := false;
begin
  execute format('select value from %s where key = $1', p_kv) into board using 'storyboard:' || p_storyboard;
  if jsonb_typeof(board) = 'object' and jsonb_typeof(board -> list_name) = 'array' then
    for item in
      select value, ordinality - 1 as place from jsonb_array_elements(board -> list_name) with ordinality
      where jsonb_typeof(value) = 'object' and value ->> 'id' = p_entity
    loop
      board := jsonb_set(board, array[list_name, item.place::text], superstoryboard.patched(item.value, p_patch))
        || jsonb_build_object('updatedAt', p_patch -> 'updatedAt');
      linked := true;
    end loop;
    execute format('update %s set value = $2 where key = $1 and value is distinct from $2', p_kv)
      using 'storyboard:' || p_storyboard, board;
  end if;
  execute format(
    'select key from %s where key = $1 and jsonb_typeof(value) = ''object''
     union all
     select key from %s where key = $2 and jsonb_typeof(value) = ''object''
       and coalesce(value ->> ''storyboardId'', case when $4 then $3 end) = $3 and not exists (select from %s where key = $1)
     limit 1', p_kv, p_kv, p_kv)
    into row_key using entity_key, format('%s:%s', p_type, p_entity), p_storyboard, linked or p_names is null;
  if row_key is not null then
    execute format('update %s set value = superstoryboard.patched(value, $2) where key = $1', p_kv) using row_key, p_patch;
    linked := true;
  end if;
  return linked;
end
$$;

-- Takes a link of an entity for a job, unless a job enqueued later has it. False means superseded.
create function superstoryboard.take_entity(
  p_job superstoryboard.jobs, p_link text, p_type text, p_entity text
) returns boolean
language plpgsql as $$
begin
  insert into superstoryboard.entity_links as l (storyboard_id, entity_type, entity_id, link, rank, job_id)
  values (p_job.generation ->> 'storyboardId', p_type, p_entity, p_link, p_job.rank, p_job.id)
  on conflict (storyboard_id, entity_type, entity_id, link) do update
  set rank = excluded.rank, job_id = excluded.job_id, linked_at = clock_timestamp()
  where (l.rank, l.job_id) <= (excluded.rank, excluded.job_id);
  return found;
end
$$;

-- What begins the keys of a result of this kind: that of the kind, or else of its media.
create function superstoryboard.link_of(p_kind text, p_media_type text) returns text
language sql stable as $$
  select coalesce(k.link, split_part(p_media_type, '/', 1)) from superstoryboard.job_kinds k where k.name = p_kind;
$$;

-- Links the job's entities under the keys that p_link begins. Returns the warnings of doing so.
create function superstoryboard.link_entities(
  p_job superstoryboard.jobs, p_link text, p_kv regclass, p_url text, p_url_expires_at timestamptz
) returns text[]
language plpgsql as $$
declare
  warnings text[] := '{}';
  board text := p_job.generation ->> 'storyboardId';
  stamp text := superstoryboard.kv_time(clock_timestamp());
  patch jsonb := jsonb_build_object(p_link || 'Url', p_url, p_link || 'UrlExpiresAt', superstoryboard.kv_time(p_url_expires_at),
    p_link || 'GeneratedAt', stamp, 'updatedAt', stamp);
  entity record;
  entities jsonb := jsonb_path_query_array(jsonb_build_array(
    jsonb_build_object('type', 'character', 'id', nullif(p_job.generation ->> 'characterId', '')),
    jsonb_build_object('type', 'scene', 'id', nullif(p_job.generation ->> 'sceneId', ''))
  ), '$[*] ? (@.id != null)');
  keys text[] := array['storyboard:' || board];
  own jsonb := '[]';
begin
  for entity in select value ->> 'type' as type, value ->> 'id' as id from jsonb_array_elements(entities) loop
    if superstoryboard.take_entity(p_job, p_link, entity.type, entity.id) then
      own := own || jsonb_build_object('type', entity.type, 'id', entity.id);
      keys := keys || format('%s:%s:%s', entity.type, board, entity.id) || format('%s:%s', entity.type, entity.id);
    elsif not 'superseded' = any (warnings) then
      warnings := warnings || 'superseded'::text;
    end if;
  end loop;
  if own = '[]' then
    return warnings;
  end if;
  execute format('select from %s where key = any ($1) order by key for update', p_kv) using keys;
  for entity in select value ->> 'type' as type, value ->> 'id' as id from jsonb_array_elements(own) loop
    if not superstoryboard.patch_entity(p_kv, board, entity.type, entity.id, patch, p_job.writes_as)
       and not 'entity not found' = any (warnings) then
      warnings := warnings || 'entity not found'::text;
    end if;
  end loop;
  return warnings;
end
$$;

-- link_entities for a job whose maker may write the storyboard; else nothing is linked, and it says so. It is asked last: by then
-- the kv rows are locked, so that an owner who came meanwhile counts.
create function superstoryboard.link_as_owner(
  p_job superstoryboard.jobs, p_link text, p_kv regclass, p_url text, p_url_expires_at timestamptz
) returns text[]
language plpgsql as $$
declare
  warnings text[];
  board text := p_job.generation ->> 'storyboardId';
begin
  warnings := superstoryboard.link_entities(p_job, p_link, p_kv, p_url, p_url_expires_at);
  if not superstoryboard.claim_storyboard(board, p_job.writes_as) then
    raise exception using errcode = 'SB002', message = 'not yours';
  elsif board <> '' then
    perform superstoryboard.keep_owner(p_job, board);
  end if;
  return warnings;
exception when sqlstate 'SB002' then
  return array['not yours'];
end
$$;

-- Marks a staged artifact as written and records its object as that result of the job, in place of an earlier one. Null where it is not staged.
create function superstoryboard.record_written(p_artifact uuid, p_url text, p_url_expires_at timestamptz)
returns superstoryboard.artifacts
language plpgsql as $$
declare
  written superstoryboard.artifacts;
begin
  update superstoryboard.artifacts set state = 'WRITTEN', ended_at = clock_timestamp(), lease_until = null
  where id = p_artifact and state = 'STAGED'
  returning * into written;
  if written.id is null then
    return null;
  end if;
  insert into superstoryboard.assets (
    id, job_id, index, bucket, path, url, url_expires_at, media_type, size_bytes, sha256, width, height, duration_ms
  ) values (
    written.id, written.job_id, written.index, written.bucket, written.path, p_url, p_url_expires_at, written.media_type,
    written.size_bytes, written.sha256, written.width, written.height, written.duration_ms
  )
  on conflict (job_id, index) do update
  set id = excluded.id, bucket = excluded.bucket, path = excluded.path, url = excluded.url,
      url_expires_at = excluded.url_expires_at, media_type = excluded.media_type, size_bytes = excluded.size_bytes,
      sha256 = excluded.sha256, width = excluded.width, height = excluded.height, duration_ms = excluded.duration_ms,
      created_at = clock_timestamp();
  return written;
end
$$;

-- What becomes of a locked, staged job of which a result was just written, set aside or given up. While another is to be written it
-- waits. Then it succeeds where one is stored; else it is a dead letter, and what was set aside is kept.
create function superstoryboard.end_writes(p_job superstoryboard.jobs, p_error jsonb, p_kv regclass, p_completion text)
returns superstoryboard.jobs
language plpgsql as $$
declare
  job superstoryboard.jobs := p_job;
  shown superstoryboard.assets;
begin
  perform superstoryboard.check_kv(p_kv::text);
  if exists (
    select from superstoryboard.artifacts where job_id = job.id and state = 'STAGED' and lease_until is distinct from 'infinity'
  ) then
    return job;
  end if;
  select * into shown from superstoryboard.assets where job_id = job.id order by index limit 1;
  if shown.id is not null and p_kv is not null then
    return superstoryboard.succeed(job, shown, p_kv, p_completion);
  end if;
  perform superstoryboard.end_job(job, 'DEAD_LETTERED', p_error, null, p_error ->> 'message');
  job.state := 'DEAD_LETTERED';
  return job;
end
$$;

-- Ends a locked job whose results are stored or given up: the first that is stored is linked, and what was set aside is let go. A
-- warning says that not all are there.
create function superstoryboard.succeed(
  p_job superstoryboard.jobs, p_shown superstoryboard.assets, p_kv regclass, p_completion text
) returns superstoryboard.jobs
language plpgsql as $$
declare
  job superstoryboard.jobs;
begin
  perform superstoryboard.discard_artifacts(array(
    select id from superstoryboard.artifacts where job_id = p_job.id and state = 'STAGED' for update));
  update superstoryboard.jobs j
  set state = 'SUCCEEDED', progress_percent = 100, ended_at = clock_timestamp(), error = null,
      warnings = array_remove(j.warnings, 'not yours') || superstoryboard.link_as_owner(
        p_job, superstoryboard.link_of(p_job.kind, p_shown.media_type), p_kv, p_shown.url, p_shown.url_expires_at
      ) || array(select 'result not stored' where exists (
        select from superstoryboard.artifacts given_up join superstoryboard.artifacts shown using (job_id, claim)
        where shown.id = p_shown.id and given_up.state = 'DISCARDED' and given_up.staged_at is not null))
  where j.id = p_job.id
  returning * into job;
  perform superstoryboard.complete_message(job.queue, job.msg_id, p_completion);
  perform superstoryboard.emit_event(job, 'Stored');
  return job;
end
$$;

-- A result's object is in its final place, under a URL that ends at p_url_expires_at (null: never). With the last of them the job
-- ends. Fenced by the artifact and the job's state. Returns the job's state; `won` is true for the one call that did it, which then
-- removes the staged object and gets the job's warnings as `notes`.
create function superstoryboard.finish_job_v1(
  p_artifact uuid, p_kv regclass, p_completion text, p_url text, p_url_expires_at timestamptz, out state text, out won boolean,
  out notes text[]
)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  job superstoryboard.jobs := superstoryboard.lock_staged(p_artifact);
begin
  state := job.state;
  won := false;
  if job.state is distinct from 'STAGED' then
    return;
  elsif (superstoryboard.record_written(p_artifact, p_url, p_url_expires_at)).id is null then
    return;
  end if;
  job := superstoryboard.end_writes(job, null, p_kv, p_completion);
  state := job.state;
  won := true;
  notes := job.warnings;
end
$$;

-- A document as text for those who show it; null where it is too large to be shown with others, compressed or not.
create function superstoryboard.shown_document(p_document jsonb) returns text
language sql immutable as $$
  select case when pg_column_size(p_document) <= 262144 then
    (select t.body from (select p_document::text as body) t where octet_length(t.body) <= 262144)
  end;
$$;

-- A job as callers see it. Documents are text, since a client may fail to read what somebody put in by SQL; the raw body
-- of an adopted message is left out, since it may be of any size and belongs to no response. `asset` is the first of `assets`.
create view superstoryboard.job_records as
select j.id, j.kind, j.owner, j.request_id, j.storyboard_id, j.scene_id, j.character_id, j.queue, j.msg_id, j.enqueued_at,
  j.rank, j.state, j.attempt, j.max_attempts, j.claim, j.worker, j.progress_percent, j.provider, j.model, j.warnings,
  superstoryboard.shown_document(j.generation) as generation, superstoryboard.shown_document(j.labels) as labels,
  superstoryboard.shown_document(j.error) as error, (a.stored -> 0)::text as asset, a.stored::text as assets,
  j.created_at, j.started_at, j.ended_at
from superstoryboard.jobs j, lateral (
  select jsonb_agg(to_jsonb(each) - 'job_id' order by each.index) as stored
  from superstoryboard.assets each where each.job_id = j.id and j.state = 'SUCCEEDED'
) a;
