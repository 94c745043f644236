"""The story of the demo: a storyboard file, its rows in the key-value table, and its messages."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
from google.protobuf.json_format import ParseDict
from psycopg import sql
from psycopg.types.json import Jsonb

from superstoryboard.domain.kinds import KINDS
from superstoryboard.v1.generation_service_pb2 import BatchItem

CONNECT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Item:
    """One asset that the story needs."""

    name: str
    mode: str
    kind: str
    message: dict[str, Any]
    after: str | None = None
    """Item whose stored picture is the source of this one."""
    by_sql: bool = False
    refused: bool = False
    """Whether it is wrong on purpose."""

    @property
    def entity(self) -> tuple[str, str]:
        """`scene` or `character`, and the id."""
        if "sceneId" in self.message:
            return "scene", self.message["sceneId"]
        return "character", self.message["characterId"]

    def request(self, source_url: str = "") -> BatchItem:
        """The call that asks for it."""
        body = self.message | ({"sourceImageUrl": source_url} if source_url else {})
        field = KINDS[self.kind].field
        return ParseDict({field: {field: body}}, BatchItem())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A storyboard with what is to be made for it; its id is new at each run."""

    id: str
    title: str
    logline: str
    scenes: list[dict[str, Any]]
    characters: list[dict[str, Any]]
    items: list[Item]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a storyboard file."""
        story = json.loads(path.read_text())
        run_id = f"{story['id']}-{secrets.token_hex(3)}"
        items = [
            Item(
                name=job["name"],
                mode=job["mode"],
                kind=job["kind"],
                message={"storyboardId": run_id} | job["message"],
                after=job.get("after"),
                by_sql=job.get("via") == "sql",
                refused=job.get("refused", False),
            )
            for job in story["jobs"]
        ]
        return cls(
            id=run_id,
            title=story["title"],
            logline=story["logline"],
            scenes=story["scenes"],
            characters=story["characters"],
            items=items,
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows that a storyboard application would have written."""
        rows: dict[str, dict[str, Any]] = {
            f"storyboard:{self.id}": {
                "id": self.id,
                "title": self.title,
                "scenes": [{"id": scene["id"], "title": scene["title"]} for scene in self.scenes],
                "characters": [{"id": one["id"], "name": one["name"]} for one in self.characters],
            }
        }
        for kind, entities in (("scene", self.scenes), ("character", self.characters)):
            for entity in entities:
                value = {key: text for key, text in entity.items() if key != "olderKey"}
                rows[self.row_key(kind, entity["id"])] = value | {"storyboardId": self.id}
        return rows

    def row_key(self, kind: str, entity_id: str) -> str:
        """Key of an entity's own row; an older application left the storyboard out of it."""
        older = any(scene["id"] == entity_id and scene.get("olderKey") for scene in self.scenes)
        return f"{kind}:{entity_id}" if older else f"{kind}:{self.id}:{entity_id}"

    def named(self, name: str) -> Item:
        """The item with this name."""
        return next(item for item in self.items if item.name == name)


class StoryDatabase:
    """The demo's own statements: what applications around the pipeline do with the database."""

    def __init__(self, url: str, kv_table: str) -> None:
        self._url = url
        self._table = sql.Identifier(*kv_table.split("."))

    async def put(self, rows: dict[str, dict[str, Any]]) -> None:
        """Write rows of the key-value table."""
        statement = sql.SQL(
            "insert into {} (key, value) values (%s, %s) on conflict (key) do update set value = excluded.value"
        ).format(self._table)
        async with await self._connect() as connection, connection.cursor() as cursor:
            await cursor.executemany(statement, [(key, Jsonb(value)) for key, value in rows.items()])

    async def put_missing(self, rows: dict[str, dict[str, Any]]) -> None:
        """Write rows whose keys are not there; the others stay as they are."""
        statement = sql.SQL("insert into {} (key, value) values (%s, %s) on conflict (key) do nothing").format(
            self._table
        )
        async with await self._connect() as connection, connection.cursor() as cursor:
            await cursor.executemany(statement, [(key, Jsonb(value)) for key, value in rows.items()])

    async def get(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Read rows of the key-value table."""
        statement = sql.SQL("select key, value from {} where key = any(%s)").format(self._table)
        async with await self._connect() as connection:
            cursor = await connection.execute(statement, (keys,))
            return dict(await cursor.fetchall())

    async def send(self, kind: str, message: dict[str, Any]) -> int:
        """Enqueue a message as anyone with SQL may; the answer is its msg_id."""
        async with await self._connect() as connection:
            cursor = await connection.execute("select pgmq.send(%s, %s::jsonb)", (KINDS[kind].queue, Jsonb(message)))
            ((msg_id,),) = await cursor.fetchall()
        return int(msg_id)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        # Nothing is prepared: the database may be behind a transaction pooler.
        return await psycopg.AsyncConnection.connect(self._url, connect_timeout=CONNECT_SECONDS, prepare_threshold=None)
