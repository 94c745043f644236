-- name: call_to_name
select id, route, model from superstoryboard.provider_calls
where job_id = %(job)s and (state in ('INTENT', 'UNKNOWN') or operation_name = %(name)s)
order by operation_name is not distinct from %(name)s desc, waived_by is not null, id desc
limit 1;

-- name: record_operation
select superstoryboard.record_operation_v1(%(job)s, %(call)s::bigint, %(name)s, %(actor)s) as answer;

-- name: unclaimed_operations
select * from superstoryboard.unclaimed_operations_v1(%(call)s::bigint, %(names)s::text[]);

-- name: search_for_call
select superstoryboard.search_for_call_v1(%(call)s::bigint, %(seconds)s::float8);

-- name: end_search
select superstoryboard.end_search_v1(%(call)s::bigint);

-- name: note_lost_answer
select superstoryboard.note_lost_answer_v1(%(call)s::bigint, %(error)s);
