-- name: list_quotas
select kind, scope, owner, open_jobs, per_minute, per_day from superstoryboard.quotas
order by kind, array_position(array['EVERYONE', 'ANONYMOUS', 'OWNER'], scope), owner;

-- name: list_weights
select owner, weight from superstoryboard.owner_weights order by owner;

-- What is not given stays as it is.
-- name: set_quota
insert into superstoryboard.quotas as q (kind, scope, owner, open_jobs, per_minute, per_day)
values (%(kind)s, %(scope)s, %(owner)s, %(open_jobs)s, %(per_minute)s, %(per_day)s)
on conflict (owner, kind, scope) do update
set open_jobs = coalesce(excluded.open_jobs, q.open_jobs), per_minute = coalesce(excluded.per_minute, q.per_minute),
  per_day = coalesce(excluded.per_day, q.per_day)
returning kind, scope, owner, open_jobs, per_minute, per_day;

-- name: unset_quota
with removed as (
  delete from superstoryboard.quotas where kind = %(kind)s and scope = %(scope)s and owner = %(owner)s returning kind
)
select count(*) as removed from removed;

-- name: set_weight
insert into superstoryboard.owner_weights (owner, weight) values (%(owner)s, %(weight)s)
on conflict (owner) do update set weight = excluded.weight
returning owner;

-- name: unset_weight
with removed as (delete from superstoryboard.owner_weights where owner = %(owner)s returning owner)
select count(*) as removed from removed;

-- A minute or a day that has ended counts nothing.
-- name: uses_of_owner
select k.name as kind, (q.most).open_jobs, (q.most).per_minute, (q.most).per_day,
  (select count(*) from superstoryboard.turns t where t.owner = %(owner)s and t.kind = k.name) as open_now,
  coalesce((select u.in_minute from superstoryboard.quota_uses u
    where u.owner = %(owner)s and u.kind = k.name and u.minute > now() - interval '1 minute'), 0) as in_minute,
  coalesce((select u.in_day from superstoryboard.quota_uses u
    where u.owner = %(owner)s and u.kind = k.name and u.day > now() - interval '24 hours'), 0) as in_day,
  coalesce((select w.weight from superstoryboard.owner_weights w where w.owner = %(owner)s), 1) as weight
from superstoryboard.job_kinds k
cross join lateral (select superstoryboard.quota_of(%(owner)s, k.name, %(scope)s) as most) q
order by k.name;
