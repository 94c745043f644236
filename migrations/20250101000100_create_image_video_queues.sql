-- The two queues, settings for tables of high turnover, and the views that monitoring reads.
do $$
declare
  queue text;
begin
  foreach queue in array array['image_generation_queue', 'video_generation_queue'] loop
    if to_regclass(format('pgmq.%I', 'q_' || queue)) is null then
      perform pgmq.create(queue);
    end if;
    execute format(
      'alter table pgmq.%I set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
         autovacuum_vacuum_cost_delay = 0, fillfactor = 70)',
      'q_' || queue
    );
    execute format('create index if not exists %I on pgmq.%I (archived_at)', 'a_' || queue || '_archived_at', 'a_' || queue);
    begin
      execute format(
        'create or replace view pgmq.%I as select msg_id, read_ct, enqueued_at, vt, message from pgmq.%I',
        queue, 'q_' || queue
      );
    exception when insufficient_privilege then
      raise notice 'no right to create view pgmq.%: monitoring reads pgmq.q_% instead', queue, queue;
    end;
  end loop;
end
$$;
