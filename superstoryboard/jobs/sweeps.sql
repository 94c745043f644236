-- name: sweep_duties
select superstoryboard.sweep_duties_v1() as name;

-- name: sweep_duty
select changed, error from superstoryboard.sweep_duty_v1(
  %(name)s,
  row(
    %(job_max_age)s::interval, %(max_claims)s::bigint,
    %(events)s::interval, %(jobs)s::interval, %(archives)s::interval, %(dead_letters)s::interval
  )::superstoryboard.sweep_limits
);
