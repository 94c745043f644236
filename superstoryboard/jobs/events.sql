-- name: pruned_sequence
select coalesce(max(pruned_sequence), 0) as sequence from superstoryboard.event_log;

-- name: is_complete
select not exists (
  select from superstoryboard.jobs
  where (id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)
    and (%(owner)s::text is null or owner = %(owner)s or storyboard_id = any (%(readable)s::text[]))
    and ended_at is null
) and not exists (
  select from superstoryboard.job_events
  where (job_id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)
    and (%(owner)s::text is null or owner = %(owner)s or storyboard_id = any (%(readable)s::text[]))
    and sequence > %(position)s
) as complete;

-- name: selected_events
select * from superstoryboard.job_events
where sequence > %(after)s and sequence <= %(until)s
  and (job_id = any (%(jobs)s::uuid[]) or %(storyboard)s <> '' and storyboard_id = %(storyboard)s)
  and (%(owner)s::text is null or owner = %(owner)s or storyboard_id = any (%(readable)s::text[]))
order by sequence
limit %(page)s;
