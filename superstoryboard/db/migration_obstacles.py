"""What of an existing project stands in the way of a migration, found before anything is changed."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

# Each row is one sentence. Only an owner may put a trigger on a table, or replace a function.
_FOREIGN = """
with things (kind, name, owner) as (
    select 'table', c.oid::regclass::text, c.relowner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgmq'
      and c.relname in ('q_image_generation_queue', 'a_image_generation_queue',
                        'q_video_generation_queue', 'a_video_generation_queue')
    union all
    select 'function', 'public.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner
    from pg_proc p
    where p.oid in (to_regprocedure('public.pgmq_send(text, jsonb)'),
                    to_regprocedure('public.pgmq_read(text, integer, integer)'),
                    to_regprocedure('public.pgmq_delete(text, bigint)'),
                    to_regprocedure('public.pgmq_archive(text, bigint)'))
    union all
    select 'schema', nspname, nspowner from pg_namespace where nspname = 'superstoryboard'
)
select format('The %s %s belongs to the role %I. Migrate as that role, or let it hand it over:'
              ' alter %s %s owner to %I;', kind, name, pg_get_userbyid(owner), kind, name, current_user)
from things where not pg_has_role(current_user, owner, 'usage')
order by kind desc, name
"""

_ROLES = """
select format('The role %I is missing, and %I may not create roles. Let an administrator run: create role %I nologin;',
              role, current_user, role)
from unnest(array['anon', 'authenticated', 'service_role']) role
where not exists (select from pg_roles where rolname = role)
  and not exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole))
order by role
"""


def obstacles(connection: Connection[Any]) -> list[str]:
    """A sentence for each, with what to do about it."""
    return [row[0] for query in (_FOREIGN, _ROLES) for row in connection.execute(query)]
