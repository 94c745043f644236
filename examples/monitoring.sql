-- Statements to watch the pipeline by, each of its own use. Run: psql "$DATABASE_URL" -f examples/monitoring.sql

-- Messages in the image queue, hidden ones included.
select count(*) as messages from pgmq.image_generation_queue;

-- Messages in the video queue, hidden ones included.
select count(*) as messages from pgmq.video_generation_queue;

-- Image messages that a worker could take now.
select count(*) as due from pgmq.image_generation_queue where vt <= now();

-- Video messages that a worker holds, or that wait for a later time.
select msg_id, read_ct, vt, message ->> 'sceneId' as scene_id
from pgmq.video_generation_queue where vt > now() order by vt;

-- Image messages, oldest first, without touching them.
select msg_id, read_ct, enqueued_at, vt, message from pgmq.image_generation_queue order by msg_id limit 10;

-- Preview of the image queue: hides ten messages for 30 seconds, which costs no job an attempt.
select msg_id, read_ct, enqueued_at, vt, message from pgmq.read('image_generation_queue', 30, 10);

-- Preview of the video queue.
select msg_id, read_ct, enqueued_at, vt, message from pgmq.read('video_generation_queue', 30, 10);

-- Length, age and total of every queue.
select queue_name, queue_length, oldest_msg_age_sec, total_messages from pgmq.metrics_all();

-- Images completed last.
select msg_id, enqueued_at, archived_at, message ->> 'sceneId' as scene_id
from pgmq.a_image_generation_queue order by archived_at desc limit 10;

-- Videos completed in the last hour.
select msg_id, enqueued_at, archived_at, archived_at - enqueued_at as took
from pgmq.a_video_generation_queue where archived_at > now() - interval '1 hour' order by archived_at desc;

-- Images completed by hour of the last day.
select date_trunc('hour', archived_at) as hour, count(*) as completed
from pgmq.a_image_generation_queue where archived_at > now() - interval '1 day' group by 1 order by 1;

-- Buckets, and whether they are public.
select id, name, public, created_at from storage.buckets order by name;

-- Images stored last, with their size.
select name, created_at, pg_size_pretty((metadata ->> 'size')::bigint) as size
from storage.objects where bucket_id = 'storyboard-images' order by created_at desc limit 10;

-- Videos stored last, with their size.
select name, created_at, pg_size_pretty((metadata ->> 'size')::bigint) as size
from storage.objects where bucket_id = 'storyboard-videos' order by created_at desc limit 10;

-- Objects and bytes of each bucket.
select bucket_id, count(*) as objects, pg_size_pretty(sum((metadata ->> 'size')::bigint)) as size
from storage.objects group by bucket_id order by bucket_id;

-- Scenes with what they show.
select
  key,
  value ->> 'imageUrl' as image_url,
  value ->> 'imageGeneratedAt' as image_generated_at,
  value ->> 'videoUrl' as video_url,
  value ->> 'videoGeneratedAt' as video_generated_at,
  value ->> 'updatedAt' as updated_at
from kv_store_7ee7668a where key like 'scene:%' order by value ->> 'updatedAt' desc nulls last limit 20;

-- Characters with what they show.
select key, value ->> 'imageUrl' as image_url, value ->> 'videoUrl' as video_url, value ->> 'updatedAt' as updated_at
from kv_store_7ee7668a where key like 'character:%' order by value ->> 'updatedAt' desc nulls last limit 20;

-- Storyboards with the number of their scenes.
select key, jsonb_array_length(value -> 'scenes') as scenes, value ->> 'updatedAt' as updated_at
from kv_store_7ee7668a where key like 'storyboard:%' and jsonb_typeof(value -> 'scenes') = 'array' order by key;

-- Scenes that wait for their image.
select key from kv_store_7ee7668a where key like 'scene:%' and value ->> 'imageUrl' is null order by key;

-- Jobs by kind and state.
select kind, state, count(*) as jobs from superstoryboard.jobs group by kind, state order by kind, state;

-- Jobs that wait for a person, with the reason.
select id, kind, state, attempt, error ->> 'code' as code, error ->> 'message' as message, ended_at
from superstoryboard.jobs where state in ('FAILED', 'DEAD_LETTERED') order by ended_at desc limit 20;
