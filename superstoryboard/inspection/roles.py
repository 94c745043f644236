"""Who holds which rights in the schema: what `storyboard doctor` says about roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, Self

from superstoryboard.db.logins import SERVICES, group_of

ROLES = ("anon", "authenticated", "service_role")
# Function of schema public, and the roles that may call it.
PUBLIC_FUNCTIONS = (
    ("pgmq_send(text, jsonb)", ("authenticated", "service_role")),
    ("pgmq_read(text, integer, integer)", ("service_role",)),
    ("pgmq_delete(text, bigint)", ("service_role",)),
    ("pgmq_archive(text, bigint)", ("service_role",)),
)
GROUPS = ([group_of(service) for service in SERVICES],)

ROLES_QUERY: LiteralString = """
with recursive groups (name) as (
  select unnest(%s::text[])
), ours (id) as (
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'superstoryboard' and c.relkind in ('r', 'p')
  union
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'pgmq' and c.relname ~ '^[qa]_(image|video)_generation_queue$'
  union
  select i.inhrelid from ours o join pg_inherits i on i.inhparent = o.id
)
select
  (select pg_has_role(current_user, nspowner, 'member') from pg_namespace where nspname = 'superstoryboard') as owner,
  array(
    select name from groups join pg_roles on rolname = name where pg_has_role(current_user, oid, 'member') order by 1
  ) as member_of,
  array(select name from groups where to_regrole(name) is null order by 1) as missing,
  array(
    select relname::text from ours join pg_class on oid = id where not relrowsecurity order by 1
  ) as open_tables,
  array(
    select distinct p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
      aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a left join pg_roles r on r.oid = a.grantee
    where n.nspname = 'superstoryboard' and (a.grantee = 0 or r.rolname in ('anon', 'authenticated')) order by 1
  ) as open_functions,
  array(
    select r.rolname::text from pg_roles r, pg_namespace n
    where r.rolname in ('anon', 'authenticated') and n.nspname = 'public'
      and has_schema_privilege(r.oid, n.oid, 'create') order by 1
  ) as creators
"""


@dataclass(frozen=True)
class RoleFacts:
    """Rights in our schema.

    `owner` says whether this user owns the schema, and is None where there is none. `member_of` holds the group roles
    of services that it is a member of, `missing` those that the server lacks. `open_tables` have no row-level
    security, `open_functions` anybody may call. `creators` are roles of browsers that may create in schema public.
    """

    owner: bool | None
    member_of: tuple[str, ...]
    missing: tuple[str, ...]
    open_tables: tuple[str, ...]
    open_functions: tuple[str, ...]
    creators: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """What the query found."""
        names = ("member_of", "missing", "open_tables", "open_functions", "creators")
        return cls(row["owner"], *(tuple(row[name]) for name in names))
