"""Looks at a database without changing anything: what `storyboard doctor` asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from superstoryboard.db.migrate import read_migrations
from superstoryboard.inspection.database_problems import InspectionError, Problem, spoken
from superstoryboard.inspection.roles import GROUPS, PUBLIC_FUNCTIONS, ROLES, ROLES_QUERY, RoleFacts

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_SECONDS = 5.0
NOTIFY_SECONDS = 3.0
# What the migrations call; each is there on 1.4.4, 1.5.1 and 1.13, `read` in one of two forms.
PGMQ_FUNCTIONS = (
    ("create(text)",),
    ("send(text, jsonb, integer)",),
    ("read(text, integer, integer)", "read(text, integer, integer, jsonb)"),
    ("set_vt(text, bigint, integer)",),
    ("archive(text, bigint)",),
    ("delete(text, bigint)",),
)


@dataclass(frozen=True)
class ServerFacts:
    """A server as one client sees it. `server` is the same for two connections to one database."""

    version: str
    version_number: int
    user: str
    server: str
    tls: bool
    sslmode: str
    host: str
    pooled: bool
    transaction_pooled: bool


@dataclass(frozen=True)
class PgmqFacts:
    """PGMQ by feature: `missing` holds functions that are needed, `available` says whether the server has one."""

    installed: bool
    extension: bool
    available: bool
    missing: tuple[str, ...]


@dataclass(frozen=True)
class MigrationFacts:
    """Names of migrations: not applied yet, edited after they were applied, unknown to this program."""

    applied: int
    pending: tuple[str, ...]
    changed: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class GrantFacts:
    """Roles that are missing; functions that are; rights as (role, function) that lack or are too much."""

    missing_roles: tuple[str, ...]
    missing_functions: tuple[str, ...]
    lacking: tuple[tuple[str, str], ...]
    excess: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class KvFacts:
    """The key-value table: columns with their types, whether `key` alone is unique, rights of browsers' roles."""

    exists: bool
    columns: dict[str, str]
    unique_key: bool
    row_security: bool
    held: tuple[tuple[str, str], ...]


class Inspection:
    """A connection that only reads."""

    def __init__(self, url: str, connection: AsyncConnection[DictRow]) -> None:
        self._url = url
        self._connection = connection

    async def server(self) -> ServerFacts:
        """Version, TLS, and whether a pooler stands between."""
        row = await self._one(
            "select current_setting('server_version') as version, current_user::text as username,"
            " current_setting('server_version_num')::integer as number,"
            " current_database() || ' ' || pg_postmaster_start_time() as server, pg_backend_pid() as pid"
        )
        # With what the environment and libpq's defaults add to the URL.
        known = {option.keyword: option.val for option in self._connection.pgconn.info}
        # A pooler answers the handshake with a number of its own.
        pooled = row["pid"] != self._connection.info.backend_pid
        return ServerFacts(
            version=row["version"].split()[0],
            version_number=row["number"],
            user=row["username"],
            server=row["server"],
            tls=bool(self._connection.pgconn.ssl_in_use),
            sslmode=(known.get(b"sslmode") or b"prefer").decode(),
            host=self._connection.info.host,
            pooled=pooled,
            transaction_pooled=pooled and await self._changes_server(row["pid"]),
        )

    async def pgmq(self) -> PgmqFacts:
        """Which PGMQ is there, by its functions."""
        row = await self._one(
            "select exists (select from pg_namespace where nspname = 'pgmq') as installed,"
            " exists (select from pg_extension where extname = 'pgmq') as extension,"
            " exists (select from pg_available_extensions where name = 'pgmq') as available"
        )
        if not row["installed"]:
            return PgmqFacts(False, False, row["available"], ())
        signatures = [signature for forms in PGMQ_FUNCTIONS for signature in forms]
        present = await self._present("pgmq", signatures)
        missing = tuple(forms[0] for forms in PGMQ_FUNCTIONS if not present.intersection(forms))
        return PgmqFacts(True, row["extension"], row["available"], missing)

    async def queues(self) -> dict[str, bool]:
        """Queues of this system, and whether each has its two tables."""
        rows = await self._all(
            "select name, to_regclass(format('pgmq.%I', 'q_' || name)) is not null"
            " and to_regclass(format('pgmq.%I', 'a_' || name)) is not null as present"
            " from superstoryboard.queues order by name"
        )
        return {row["name"]: row["present"] for row in rows}

    async def migrations(self) -> MigrationFacts:
        """Applied migrations against the files of this program."""
        files = {each.version: each for each in await asyncio.to_thread(read_migrations)}
        row = await self._one("select to_regclass('superstoryboard.schema_migrations') is not null as there")
        query: LiteralString = "select version, name, checksum from superstoryboard.schema_migrations order by version"
        applied = {each["version"]: each for each in await self._all(query)} if row["there"] else {}
        return MigrationFacts(
            applied=len(applied),
            pending=tuple(f"{each.version}_{each.name}" for each in files.values() if each.version not in applied),
            changed=tuple(
                f"{version}_{files[version].name}"
                for version, each in applied.items()
                if version in files and files[version].checksum != each["checksum"]
            ),
            unknown=tuple(f"{version}_{each['name']}" for version, each in applied.items() if version not in files),
        )

    async def grants(self, *, anon_may_send: bool) -> GrantFacts:
        """Who may call the functions of schema public."""
        rows = await self._all("select rolname::text as name from pg_roles where rolname = any(%s)", [list(ROLES)])
        roles = [role for role in ROLES if role in {row["name"] for row in rows}]
        present = await self._present("public", [signature for signature, _ in PUBLIC_FUNCTIONS])
        rights = await self._all(
            "select role, signature, has_function_privilege(role, to_regprocedure('public.' || signature), 'execute')"
            " as allowed from unnest(%s::text[]) role, unnest(%s::text[]) signature",
            [roles, sorted(present)],
        )
        intended = {(role, signature) for signature, allowed in PUBLIC_FUNCTIONS for role in allowed}
        if anon_may_send:
            intended.add(("anon", PUBLIC_FUNCTIONS[0][0]))
        pairs = {(row["role"], row["signature"]): row["allowed"] for row in rights}
        return GrantFacts(
            missing_roles=tuple(role for role in ROLES if role not in roles),
            missing_functions=tuple(signature for signature, _ in PUBLIC_FUNCTIONS if signature not in present),
            lacking=tuple(sorted(pair for pair, allowed in pairs.items() if pair in intended and not allowed)),
            excess=tuple(sorted(pair for pair, allowed in pairs.items() if pair not in intended and allowed)),
        )

    async def roles(self) -> RoleFacts:
        """Whether this user is the owner of the schema or a service, and what is open to others."""
        return RoleFacts.of(await self._one(ROLES_QUERY, GROUPS))

    async def kv_table(self, name: str) -> KvFacts:
        """Columns of the key-value table."""
        table = sql.Identifier(*name.split(".")).as_string(self._connection)
        columns = await self._all(
            "select attname::text as name, format_type(atttypid, atttypmod) as type from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [table],
        )
        unique = await self._one(
            "select exists (select from pg_index i"
            " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
            " where i.indrelid = to_regclass(%s) and i.indisunique and i.indisvalid and i.indnkeyatts = 1"
            " and i.indpred is null and i.indexprs is null and a.attname = 'key') as unique_key",
            [table],
        )
        secured = await self._one(
            "select coalesce((select relrowsecurity from pg_class where oid = to_regclass(%s)), false) as on", [table]
        )
        held = await self._all(
            "select role, string_agg(verb, ', ' order by position) as rights"
            " from pg_roles r, unnest(array['anon', 'authenticated']) role, unnest("
            "array['select', 'insert', 'update', 'delete', 'truncate', 'trigger']) with ordinality v (verb, position)"
            " where r.rolname = role and has_table_privilege(r.oid, to_regclass(%s), verb) group by role order by role",
            [table],
        )
        rights = tuple((row["role"], row["rights"]) for row in held)
        return KvFacts(
            bool(columns), {row["name"]: row["type"] for row in columns}, unique["unique_key"], secured["on"], rights
        )

    async def hears(self, sender: Inspection) -> bool:
        """Whether a notification that `sender` sends arrives here. The channel is new at each call."""
        channel = sql.Identifier(f"superstoryboard_doctor_{uuid4().hex}")
        await self._plain(sql.SQL("listen {}").format(channel))
        try:
            await sender._plain(sql.SQL("notify {}").format(channel))
            arrived = [each async for each in self._connection.notifies(timeout=NOTIFY_SECONDS, stop_after=1)]
            return bool(arrived)
        finally:
            await self._plain(sql.SQL("unlisten {}").format(channel))

    async def _changes_server(self, first_pid: int) -> bool:
        """True where the pooler lends a server for one transaction: while another client is in one, ours changes."""
        pids = {first_pid, (await self._one("select pg_backend_pid() as pid"))["pid"]}
        with spoken():
            async with inspect(self._url) as other, other._transaction():  # noqa: SLF001 - of the same class
                cursor = await other._connection.execute("select pg_backend_pid() as pid")  # noqa: SLF001
                others = {row["pid"] for row in await cursor.fetchall()}
                pids.add((await self._one("select pg_backend_pid() as pid"))["pid"])
        return len(pids) > 1 or not pids.isdisjoint(others)

    async def _present(self, schema: str, signatures: Sequence[str]) -> set[str]:
        rows = await self._all(
            "select signature from unnest(%s::text[]) signature"
            " where to_regprocedure(%s || '.' || signature) is not null",
            [list(signatures), schema],
        )
        return {row["signature"] for row in rows}

    async def _one(self, statement: LiteralString, values: Sequence[Any] = ()) -> DictRow:
        return (await self._all(statement, values))[0]

    async def _all(self, statement: LiteralString, values: Sequence[Any] = ()) -> list[DictRow]:
        with spoken():
            async with asyncio.timeout(STATEMENT_SECONDS), self._transaction():
                # Without values a per cent sign of the statement stands for itself.
                cursor = await self._connection.execute(statement, values or None)
                return await cursor.fetchall()

    async def _plain(self, statement: sql.Composed) -> None:
        with spoken():
            async with asyncio.timeout(STATEMENT_SECONDS):
                await self._connection.execute(statement)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        await self._connection.execute("begin read only")
        try:
            yield
        finally:
            if not self._connection.broken:
                await self._connection.execute("rollback")


@asynccontextmanager
async def inspect(url: str) -> AsyncIterator[Inspection]:
    """A connection for looking, closed at the end.

    Raises:
        InspectionError: the database cannot be reached or does not let us in.
    """
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its words would quote the URL
        raise InspectionError(Problem.URL, "it is not the URL of a PostgreSQL database") from None
    with spoken():
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * 2):
            connection = await AsyncConnection.connect(
                url,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="superstoryboard-doctor",
            )
    try:
        yield Inspection(url, connection)
    finally:
        await connection.close()
