-- Tokens of backends, CronJobs and outside workers. A token itself is never stored, only its hash.
create table superstoryboard.service_tokens (
  sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  name text not null check (name ~ '^[a-z][a-z0-9-]{0,30}$' and name not in ('sql', 'local')),
  role text not null check (role in ('service_role', 'worker')),
  owner text check (owner <> '' and length(owner) <= 128 and owner not in ('sql', 'service_role', 'local')),
  queues text[] not null default '{}',
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_by text,
  revoked_at timestamptz,
  check (owner is null or role = 'service_role'),
  check ((role = 'worker') = (cardinality(queues) > 0))
);
comment on table superstoryboard.service_tokens is
  'Service tokens. Every process keeps a copy; a change reaches it by notification, or by its next look within 5 s.';
comment on column superstoryboard.service_tokens.sha256 is 'Of the whole token, in hexadecimal digits.';
comment on column superstoryboard.service_tokens.owner is 'The only owner that the token acts for; null: for itself, or whoever its calls name.';
comment on column superstoryboard.service_tokens.queues is 'Queues of an outside worker.';
comment on column superstoryboard.service_tokens.last_used_at is 'To within some minutes: processes write it together, never for a call.';
create unique index service_tokens_name on superstoryboard.service_tokens (name) where revoked_at is null;
create index service_tokens_ended on superstoryboard.service_tokens (least(revoked_at, expires_at));

create function superstoryboard.notify_tokens() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_notify('superstoryboard_tokens', '');
  return null;
end
$$;
-- Not for last_used_at: that changes nothing for those who check tokens.
create trigger service_tokens_changed after insert or delete or update of name, role, owner, queues, expires_at, revoked_at
  on superstoryboard.service_tokens for each statement execute function superstoryboard.notify_tokens();

-- Keeps a token by its hash. Returns CREATED; or why not: TOKEN_NAME_IN_USE, TOO_MANY_TOKENS (1,000 are live), or QUEUE_UNKNOWN.
-- The name of a token that has expired is free again. The same hash again counts as done, so that a repeat is harmless.
create function superstoryboard.create_service_token_v1(
  p_sha256 text, p_name text, p_role text, p_owner text, p_queues text[], p_expires_at timestamptz, p_actor text
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from superstoryboard.service_tokens where sha256 = p_sha256 and name = p_name) then
    return 'CREATED';
  elsif exists (select from unnest(p_queues) as wanted (name) where wanted.name not in (select q.name from superstoryboard.queues q)) then
    return 'QUEUE_UNKNOWN';
  end if;
  update superstoryboard.service_tokens set revoked_at = expires_at, revoked_by = 'expiry'
  where name = p_name and revoked_at is null and expires_at <= clock_timestamp();
  if (select count(*) from superstoryboard.service_tokens where revoked_at is null) >= 1000 then
    return 'TOO_MANY_TOKENS';
  end if;
  insert into superstoryboard.service_tokens (sha256, name, role, owner, queues, expires_at, created_by)
  values (p_sha256, p_name, p_role, p_owner, p_queues, p_expires_at, p_actor)
  on conflict (name) where revoked_at is null do nothing;
  return case when found then 'CREATED' else 'TOKEN_NAME_IN_USE' end;
end
$$;

-- Ends a token for good. False where no token of this name is left to revoke.
create function superstoryboard.revoke_service_token_v1(p_name text, p_actor text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update superstoryboard.service_tokens set revoked_at = clock_timestamp(), revoked_by = p_actor
  where name = p_name and revoked_at is null;
  return found;
end
$$;

-- Notes that tokens were used, at most every five minutes each, however many processes saw them.
create function superstoryboard.note_service_tokens_v1(p_sha256s text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update superstoryboard.service_tokens set last_used_at = clock_timestamp()
  where sha256 = any (p_sha256s) and (last_used_at is null or last_used_at < clock_timestamp() - interval '5 minutes');
$$;

-- Forgets tokens that were revoked or have expired so long ago.
create function superstoryboard.sweep_service_tokens(p_age interval, p_limit bigint) returns bigint
language plpgsql as $$
declare
  deleted bigint;
begin
  delete from superstoryboard.service_tokens
  where sha256 in (
    select sha256 from superstoryboard.service_tokens
    where least(revoked_at, expires_at) < now() - p_age
    order by least(revoked_at, expires_at)
    limit p_limit
  );
  get diagnostics deleted = row_count;
  return deleted;
end
$$;
