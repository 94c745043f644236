-- The two queues, settings for tables of high turnover, and the views that monitoring reads.
do $$
declare
  queue text;
begin
  foreach queue in array array['image_generation_queue', 'video_generation_queue'] loop
    if to_regclass(format('pgmq.%I', 'q_' || queue)) is null or to_regclass(format('pgmq.%I', 'a_' || queue)) is null then
      perform pgmq.create(queue);
    end if;
    execute format(
      'alter table pgmq.%I set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
         autovacuum_vacuum_cost_delay = 0, fillfactor = 70)',
      'q_' || queue
    );
    execute format('create index if not exists %I on pgmq.%I (archived_at)', 'a_' || queue || '_archived_at', 'a_' || queue);
    begin
      -- With the rights of whoever reads it: row-level security of the queue holds for the view too.
      execute format(
        'create or replace view pgmq.%I %s as select msg_id, read_ct, enqueued_at, vt, message from pgmq.%I',
        queue,
        case when current_setting('server_version_num')::integer >= 150000 then 'with (security_invoker = true)' else '' end,
        'q_' || queue
      );
    exception when insufficient_privilege or invalid_table_definition or wrong_object_type then
      raise warning 'pgmq.% is left as it is (%). Read pgmq.q_% instead.', queue, sqlerrm, queue;
    end;
  end loop;
end
$$;
