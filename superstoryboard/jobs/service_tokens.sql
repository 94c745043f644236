-- name: kept_tokens
select sha256, name, role, owner, queues, expires_at, revoked_at from superstoryboard.service_tokens;

-- name: list_tokens
select name, role, coalesce(owner, '') as owner, queues, created_by, created_at, expires_at, last_used_at,
  coalesce(revoked_by, '') as revoked_by, revoked_at
from superstoryboard.service_tokens
order by revoked_at is not null, name, created_at;

-- name: create_token
select superstoryboard.create_service_token_v1(
  %(sha256)s, %(name)s, %(role)s, %(owner)s::text, %(queues)s::text[], %(expires_at)s::timestamptz, %(actor)s
) as answer;

-- name: revoke_token
select superstoryboard.revoke_service_token_v1(%(name)s, %(actor)s) as revoked;

-- name: note_tokens
select superstoryboard.note_service_tokens_v1(%(sha256s)s::text[]);
