"""Scripted answers: the next requests of a sort fail, wait, break off or answer something else."""

import asyncio
import json
from dataclasses import dataclass, field, fields
from typing import Any, Self

SORTS = ("upload", "download", "public", "remove", "bucket", "info", "list", "move", "copy", "sign", "jwks")


@dataclass
class ScriptedAnswer:
    """One entry of the script. Without status, body, body_bytes and drop it only delays the real answer.

    `after` lets the real handler do its work first, so that only its answer is lost or replaced.
    `drop` closes the connection; with `body_bytes` after that many bytes of a longer answer.
    `drip_seconds` is the pause before each byte of a scripted body. `on: any` is any request to Storage, not reads of
    keys, which come whenever a process likes.
    """

    on: str
    path_contains: str = ""
    times: int = 1
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    delay_seconds: float = 0.0
    drop: bool = False
    hold: bool = False
    body_bytes: int | None = None
    drip_seconds: float = 0.0
    after: bool = False

    @classmethod
    def parse(cls, entry: Any) -> Self:
        """Read one JSON entry.

        Raises:
            ValueError: an unknown or missing field; a script that silently does nothing helps nobody.
        """
        if not isinstance(entry, dict):
            raise TypeError("a script entry must be an object")
        unknown = set(entry) - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        if entry.get("on") not in (*SORTS, "any"):
            raise ValueError(f"on must be one of any, {', '.join(SORTS)}")
        return cls(**entry)

    def matches(self, sort: str, path: str) -> bool:
        sort_needed = sort if sort == "jwks" else "any"
        return self.times > 0 and self.on in (sort_needed, sort) and self.path_contains in path

    @property
    def replaces_answer(self) -> bool:
        return self.drop or any(part is not None for part in (self.status, self.body, self.body_bytes))

    def payload(self) -> tuple[str, bytes]:
        """Content type and bytes of the answer (not those of `body_bytes`)."""
        if self.body is None:
            return self.content_type or "text/plain", b""
        if isinstance(self.body, str):
            return self.content_type or "text/plain", self.body.encode()
        return self.content_type or "application/json", json.dumps(self.body).encode()


class Script:
    """The scripted answers still to come, in order, and the requests that are held."""

    def __init__(self) -> None:
        self._entries: list[ScriptedAnswer] = []
        self._gate = asyncio.Event()
        self.held = 0

    def add(self, entries: list[ScriptedAnswer]) -> None:
        self._entries += entries

    def take(self, sort: str, path: str) -> ScriptedAnswer | None:
        """The first entry that matches, one use of it spent."""
        for entry in self._entries:
            if entry.matches(sort, path):
                entry.times -= 1
                return entry
        return None

    async def wait(self, entry: ScriptedAnswer) -> None:
        """Stay for the entry's delay, and until `release` if it holds."""
        if entry.delay_seconds:
            await asyncio.sleep(entry.delay_seconds)
        if entry.hold:
            self.held += 1
            try:
                await self._gate.wait()
            finally:
                self.held -= 1

    def release(self) -> int:
        """Let all held requests go on; returns how many there were."""
        self._gate.set()
        self._gate = asyncio.Event()
        return self.held

    def reset(self) -> None:
        self._entries.clear()
        self.release()
