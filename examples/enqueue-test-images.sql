-- Enqueues three test scenes; the image worker takes them like any other message.
-- Run: psql "$DATABASE_URL" -f examples/enqueue-test-images.sql

-- Scene 1: text to image.
select pgmq.send(
  'image_generation_queue',
  '{"storyboardId": "test-storyboard", "sceneId": "scene-001",
    "prompt": "A lighthouse on a black cliff at dusk, its beam sweeping over a rough sea"}'::jsonb
) as msg_id;

-- Scene 2: text to image.
select pgmq.send(
  'image_generation_queue',
  '{"storyboardId": "test-storyboard", "sceneId": "scene-002",
    "prompt": "Inside the lamp room, brass and glass glowing warm, rain on the panes"}'::jsonb
) as msg_id;

-- Scene 3: text to image.
select pgmq.send(
  'image_generation_queue',
  '{"storyboardId": "test-storyboard", "sceneId": "scene-003",
    "prompt": "A small fishing boat turns into the calm harbour at dawn"}'::jsonb
) as msg_id;

-- What waits now.
select msg_id, enqueued_at, vt, message ->> 'sceneId' as scene_id
from pgmq.image_generation_queue
order by msg_id;
