-- PGMQ: the extension where the server has it. `storyboard migrate` has installed the SQL of the pgmq package where not.
do $$
begin
  if to_regprocedure('pgmq.read(text, integer, integer)') is not null
     or to_regprocedure('pgmq.read(text, integer, integer, jsonb)') is not null then
    return;
  end if;
  if not exists (select from pg_available_extensions where name = 'pgmq') then
    raise exception 'PGMQ is missing. Install the extension, or run `storyboard migrate`, which installs it from SQL';
  end if;
  create extension pgmq;
end
$$;
