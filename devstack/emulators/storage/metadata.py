"""Buckets and objects as rows of Postgres schema `storage`, as the real Storage keeps them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, OperationalError, sql
from psycopg.errors import ForeignKeyViolation, InsufficientPrivilege, InvalidParameterValue, UndefinedObject
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from .errors import WireError

Row = dict[str, Any]

_SCHEMA = """
select pg_advisory_xact_lock(hashtext('storage-emulator-schema'));
create schema if not exists storage;
create table if not exists storage.buckets (
    id text primary key,
    name text not null,
    owner uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    public boolean not null default false,
    file_size_limit bigint,
    allowed_mime_types text[]
);
create table if not exists storage.objects (
    id uuid primary key default gen_random_uuid(),
    bucket_id text not null references storage.buckets (id),
    name text not null,
    owner uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_accessed_at timestamptz not null default now(),
    metadata jsonb,
    version text,
    unique (bucket_id, name)
);
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
"""

_PUT_OBJECT = """
insert into storage.objects (bucket_id, name, metadata, version)
values (%(bucket_id)s, %(name)s, %(metadata)s, %(version)s)
on conflict (bucket_id, name) do update
set metadata = excluded.metadata, version = excluded.version, updated_at = now(), last_accessed_at = now()
returning *
"""

_LIST_LEVEL = """
with inside as (
    select substr(name, length(%(prefix)s) + 1) as rest,
        id, updated_at, created_at, last_accessed_at, metadata
    from storage.objects
    where bucket_id = %(bucket_id)s and starts_with(name, %(prefix)s)
), level as (
    select rest as name, id, updated_at, created_at, last_accessed_at, metadata
    from inside where strpos(rest, '/') = 0
    union all
    select distinct split_part(rest, '/', 1),
        null::uuid, null::timestamptz, null::timestamptz, null::timestamptz, null::jsonb
    from inside where strpos(rest, '/') > 0
)
select * from level where starts_with(lower(name), lower(%(search)s))
order by {column} {direction} nulls first, name limit %(limit)s offset %(offset)s
"""


@dataclass(frozen=True)
class Bucket:
    """The rules of one bucket."""

    id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: list[str] | None


class Metadata:
    """The two tables. Every method raises WireError 544 while Postgres is away."""

    def __init__(self, database_url: str) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            database_url,
            connection_class=AsyncConnection[DictRow],
            kwargs={"row_factory": dict_row, "prepare_threshold": None, "connect_timeout": 5},
            min_size=1,
            max_size=3,
            timeout=2.5,
            # Shorter than a request waits: each one then tries anew, none waits out a long backoff.
            reconnect_timeout=2.0,
            num_workers=1,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )
        self._has_schema = False
        self._schema_lock = asyncio.Lock()

    async def open(self) -> None:
        """Start connecting in the background; Postgres may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def _transaction(self, role: str | None = None) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A transaction, as that database role where one is given: then its rights and policies hold."""
        try:
            async with self._pool.connection() as connection:
                await self._ensure_schema(connection)
                await self._become(connection, role)
                yield connection
        except InsufficientPrivilege as error:
            raise WireError.row_level_security() from error
        except (OperationalError, PoolTimeout) as error:
            raise WireError.database_away() from error

    async def _ensure_schema(self, connection: AsyncConnection[DictRow]) -> None:
        async with self._schema_lock:
            if not self._has_schema:
                await connection.execute(_SCHEMA)
                await connection.commit()
                self._has_schema = True

    async def _become(self, connection: AsyncConnection[DictRow], role: str | None) -> None:
        if role is None:
            return
        try:
            await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        except (InvalidParameterValue, UndefinedObject) as error:
            raise WireError.no_such_role(role) from error

    async def ping(self) -> None:
        """Reach the database and create the schema where it is missing."""
        async with self._transaction() as connection:
            await connection.execute("select 1")

    async def _one(self, query: str, parameters: Row, role: str | None = None) -> Row | None:
        async with self._transaction(role) as connection:
            return await (await connection.execute(query, parameters)).fetchone()

    async def _all(self, query: str, parameters: Row, role: str | None = None) -> list[Row]:
        async with self._transaction(role) as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def bucket_row(self, bucket_id: str) -> Row:
        row = await self._one("select * from storage.buckets where id = %(id)s", {"id": bucket_id})
        if row is None:
            raise WireError.no_such_bucket()
        return row

    async def bucket(self, bucket_id: str) -> Bucket:
        row = await self.bucket_row(bucket_id)
        return Bucket(row["id"], row["public"], row["file_size_limit"], row["allowed_mime_types"])

    async def bucket_rows(self) -> list[Row]:
        return await self._all("select * from storage.buckets order by name", {})

    async def create_bucket(self, row: Row) -> None:
        created = await self._one(
            "insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)"
            " values (%(id)s, %(name)s, %(public)s, %(file_size_limit)s, %(allowed_mime_types)s)"
            " on conflict (id) do nothing returning id",
            row,
        )
        if created is None:
            raise WireError.duplicate_bucket()

    async def update_bucket(self, row: Row) -> None:
        updated = await self._one(
            "update storage.buckets set public = %(public)s, file_size_limit = %(file_size_limit)s,"
            " allowed_mime_types = %(allowed_mime_types)s, updated_at = now() where id = %(id)s returning id",
            row,
        )
        if updated is None:
            raise WireError.no_such_bucket()

    async def delete_bucket(self, bucket_id: str) -> None:
        try:
            deleted = await self._one("delete from storage.buckets where id = %(id)s returning id", {"id": bucket_id})
        except ForeignKeyViolation as error:
            raise WireError.bucket_not_empty() from error
        if deleted is None:
            raise WireError.no_such_bucket()

    async def object_row(self, bucket_id: str, name: str, role: str | None = None) -> Row:
        row = await self._one(
            "select * from storage.objects where bucket_id = %(bucket_id)s and name = %(name)s",
            {"bucket_id": bucket_id, "name": name},
            role,
        )
        if row is None:
            raise WireError.no_such_object()
        return row

    async def put_object(
        self, bucket_id: str, name: str, *, version: str, metadata: Row, upsert: bool, role: str | None = None
    ) -> tuple[Row, str | None]:
        """Write the row; returns it and the version it replaced."""
        async with self._transaction(role) as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{bucket_id}/{name}"])
            cursor = await connection.execute(
                "select version from storage.objects where bucket_id = %s and name = %s", [bucket_id, name]
            )
            old = await cursor.fetchone()
            if old is not None and not upsert:
                raise WireError.duplicate_object()
            values = {
                "bucket_id": bucket_id,
                "name": name,
                "metadata": Jsonb(metadata),
                "version": version,
            }
            row = await (await connection.execute(_PUT_OBJECT, values)).fetchone()
        if row is None:
            raise WireError.no_such_bucket()
        return row, old["version"] if old else None

    async def move_object(self, source: tuple[str, str], target: tuple[str, str], role: str | None = None) -> Row:
        async with self._transaction(role) as connection:
            cursor = await connection.execute(
                "select 1 from storage.objects where bucket_id = %s and name = %s", target
            )
            if await cursor.fetchone():
                raise WireError.duplicate_object()
            moved = await connection.execute(
                "update storage.objects set bucket_id = %s, name = %s, updated_at = now()"
                " where bucket_id = %s and name = %s returning *",
                [*target, *source],
            )
            row = await moved.fetchone()
        if row is None:
            raise WireError.no_such_object()
        return row

    async def delete_objects(self, bucket_id: str, names: list[str] | None, role: str | None = None) -> list[Row]:
        """Delete these objects, or all of the bucket; returns the deleted rows."""
        return await self._all(
            "delete from storage.objects where bucket_id = %(bucket_id)s"
            " and (%(names)s::text[] is null or name = any(%(names)s::text[])) returning *",
            {"bucket_id": bucket_id, "names": names},
            role,
        )

    async def list_level(
        self, bucket_id: str, query: Row, column: str, direction: str, role: str | None = None
    ) -> list[Row]:
        """One folder level; `column` and `direction` must be checked by the caller."""
        statement = _LIST_LEVEL.format(column=column, direction=direction)
        return await self._all(statement, {"bucket_id": bucket_id, **query}, role)
