-- Signed URLs: when the URL of an asset ends, in the asset and beside the URL in kv. Null, or no key: it does not end.
alter table superstoryboard.artifacts add column url_expires_at timestamptz;
alter table superstoryboard.assets add column url_expires_at timestamptz;

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

-- As before, but a null in the patch takes a key away.
create or replace function superstoryboard.patch_entity(
  p_kv regclass, p_storyboard text, p_type text, p_entity text, p_patch jsonb
) returns boolean
language plpgsql as $$
declare
  row_key text;
  entity_key text := format('%s:%s:%s', p_type, p_storyboard, p_entity);
  list_name text := p_type || 's';
  board jsonb;
  item record;
  linked boolean := false;
begin
  execute format(
    'select key from %s where key = $1 and jsonb_typeof(value) = ''object''
     union all
     select key from %s where key = $2 and jsonb_typeof(value) = ''object''
       and coalesce(value ->> ''storyboardId'', $3) = $3 and not exists (select from %s where key = $1)
     limit 1', p_kv, p_kv, p_kv)
    into row_key using entity_key, format('%s:%s', p_type, p_entity), p_storyboard;
  if row_key is not null then
    execute format('update %s set value = superstoryboard.patched(value, $2) where key = $1', p_kv) using row_key, p_patch;
    linked := true;
  end if;
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
  return linked;
end
$$;

-- As before, with the end of a signed URL.
create or replace function superstoryboard.link_entities(p_job superstoryboard.jobs, p_kv regclass, p_url text) returns text[]
language plpgsql as $$
declare
  warnings text[] := '{}';
  board text := p_job.generation ->> 'storyboardId';
  stamp text := superstoryboard.kv_time(clock_timestamp());
  expires_at timestamptz := (
    select a.url_expires_at from superstoryboard.assets s join superstoryboard.artifacts a on a.id = s.id where s.job_id = p_job.id);
  patch jsonb := jsonb_build_object(p_job.kind || 'Url', p_url, p_job.kind || 'UrlExpiresAt', superstoryboard.kv_time(expires_at),
    p_job.kind || 'GeneratedAt', stamp, 'updatedAt', stamp);
  entity record;
  entities jsonb := jsonb_path_query_array(jsonb_build_array(
    jsonb_build_object('type', 'character', 'id', nullif(p_job.generation ->> 'characterId', '')),
    jsonb_build_object('type', 'scene', 'id', nullif(p_job.generation ->> 'sceneId', ''))
  ), '$[*] ? (@.id != null)');
  keys text[] := array['storyboard:' || board];
  taken jsonb := '[]';
begin
  for entity in select value ->> 'type' as type, value ->> 'id' as id from jsonb_array_elements(entities) loop
    if superstoryboard.take_entity(p_job, entity.type, entity.id) then
      taken := taken || jsonb_build_object('type', entity.type, 'id', entity.id);
      keys := keys || format('%s:%s:%s', entity.type, board, entity.id) || format('%s:%s', entity.type, entity.id);
    elsif not 'superseded' = any (warnings) then
      warnings := warnings || 'superseded'::text;
    end if;
  end loop;
  if taken = '[]' then
    return warnings;
  end if;
  execute format('select from %s where key = any ($1) order by key for update', p_kv) using keys;
  for entity in select value ->> 'type' as type, value ->> 'id' as id from jsonb_array_elements(taken) loop
    if not superstoryboard.patch_entity(p_kv, board, entity.type, entity.id, patch)
       and not 'entity not found' = any (warnings) then
      warnings := warnings || 'entity not found'::text;
    end if;
  end loop;
  return warnings;
end
$$;

-- Finishes a job whose object is in its final place, under a URL that ends at p_url_expires_at (null: never).
create function superstoryboard.finish_job_v2(
  p_artifact uuid, p_kv regclass, p_completion text, p_url text, p_url_expires_at timestamptz, out state text, out won boolean
)
language plpgsql as $$
begin
  -- The locks that the finish takes, in the same order.
  perform superstoryboard.lock_job(a.job_id) from superstoryboard.artifacts a where a.id = p_artifact;
  update superstoryboard.artifacts a set url_expires_at = p_url_expires_at where a.id = p_artifact and a.state = 'STAGED';
  select f.state, f.won into state, won
  from superstoryboard.finish_job_v1(p_artifact, p_kv, p_completion, p_url) f;
  if won then
    update superstoryboard.assets a set url_expires_at = p_url_expires_at where a.id = p_artifact;
  end if;
end
$$;
