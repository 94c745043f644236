-- name: claim_cleanups
select * from superstoryboard.claim_cleanups_v1(%(age)s::float8, %(limit)s::int);

-- name: end_cleanups
select superstoryboard.end_cleanups_v1(%(ids)s::uuid[]);
