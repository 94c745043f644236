"""Scripted answers: what the next matching requests get instead of, or on top of, the normal answer."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from . import errors
from .errors import ApiError, Surface, invalid

ON = ("image", "submit", "poll", "download", "file", "cancel", "delete", "list", "any")
ERROR_KINDS = ("rate_limited_minute", "quota_day", "limit_zero", "overloaded", "internal")
IMAGE_KINDS = ("blocked_prompt", "image_safety", "no_image_text", "no_image")
OPERATION_KINDS = ("empty_operation", "rai_filtered", "no_video_text", "file_failed")
STATUSES = ("incomplete", "budget_exceeded", "requires_action", "cancelled", "failed")
DROPS = ("before_accept", "after_accept")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "on": str,
    "prompt_contains": str,
    "times": int,
    "delay_seconds": (int, float),
    "retry_delay_seconds": (int, float),
    "queued_seconds": (int, float),
    "processing_seconds": (int, float),
    "status": int,
    "body": object,
    "headers": dict,
    "kind": str,
    "drop": str,
    "hold": bool,
    "accept": bool,
}


_QUOTAS = {"rate_limited_minute": ("PerMinute", 10), "quota_day": ("PerDay", 100), "limit_zero": ("PerDay", 0)}


class DroppedError(Exception):
    """The connection is to be closed without an answer."""


@dataclass
class Entry:
    """One scripted answer, used up after ``times`` matching requests.

    ``delay_seconds`` and ``hold`` make the answer late, after a paid call was recorded. ``drop`` closes the
    connection without any answer. ``accept`` records the call as paid although ``status`` or ``body``
    replaces its answer. ``queued_seconds`` keeps a new interaction from starting, ``processing_seconds`` the
    file of a finished film from becoming ACTIVE; None leaves that to the settings.
    """

    on: str
    prompt_contains: str = ""
    times: int = 1
    delay_seconds: float = 0.0
    retry_delay_seconds: float = 38.0
    queued_seconds: float = 0.0
    processing_seconds: float | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = None
    drop: str | None = None
    hold: bool = False
    accept: bool = False

    def matches(self, on: str, prompt: str) -> bool:
        return self.on in ("any", on) and self.prompt_contains in prompt

    @property
    def replaces(self) -> bool:
        """Whether the answer is given by ``status`` and ``body`` as they stand."""
        return self.kind is None and (self.status is not None or self.body is not None)

    def error(self, model: str, on: str, surface: Surface) -> ApiError | None:
        """Return the error that a named error kind stands for, None for the other kinds."""
        if self.kind in _QUOTAS:
            period, limit = _QUOTAS[self.kind]
            wait = self.retry_delay_seconds
            return errors.quota_exceeded(model, period=period, limit=limit, retry_seconds=wait, surface=surface)
        match self.kind:
            case "overloaded":
                return errors.overloaded(model, surface)
            case "internal":
                return errors.internal()
            case "blocked_prompt" if on == "submit":
                return errors.blocked_prompt()
        return None

    def image_refusal(self) -> str | None:
        return self.kind if self.kind in IMAGE_KINDS else None

    def operation_outcome(self) -> str | None:
        return self.kind if self.kind is not None and _ends_operation(self.kind) else None


class Script:
    """The queue of entries, and the gate at which held answers wait."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._gate = asyncio.Event()
        self._stopping = asyncio.Event()
        self.held = 0

    def add(self, value: Any) -> int:
        """Append one entry or a list of them; raise ApiError 400 when one makes no sense."""
        entries = [parse_entry(item) for item in (value if isinstance(value, list) else [value])]
        self._entries.extend(entries)
        return len(self._entries)

    def take(self, on: str, prompt: str) -> Entry | None:
        """Return the first entry that matches and count it as used once."""
        for index, entry in enumerate(self._entries):
            if entry.matches(on, prompt):
                entry.times -= 1
                if entry.times == 0:
                    del self._entries[index]
                return entry
        return None

    async def lateness(self, entry: Entry) -> None:
        """Wait as long as the entry says; raise DroppedError when the emulator stops meanwhile."""
        if entry.delay_seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), entry.delay_seconds)
        if entry.hold and not self._stopping.is_set():
            self.held += 1
            try:
                await self._gate.wait()
            finally:
                self.held -= 1
        if (entry.delay_seconds or entry.hold) and self._stopping.is_set():
            raise DroppedError

    def release(self) -> int:
        """Let all answers go that are held now; return how many there were."""
        gate, self._gate = self._gate, asyncio.Event()
        gate.set()
        return self.held

    def clear(self) -> None:
        self._entries.clear()
        self.release()

    def stop(self) -> None:
        """End all late answers without sending them, so that the process can stop at once."""
        self._stopping.set()
        self.release()


def parse_entry(value: Any) -> Entry:
    """Check one entry of the script; raise ApiError 400 naming what is wrong with it."""
    if not isinstance(value, dict):
        raise invalid("a script entry must be an object")
    for name, content in value.items():
        if name not in _FIELDS:
            raise invalid(f"unknown field {name!r} in a script entry")
        if content is not None and not isinstance(content, _FIELDS[name]):
            raise invalid(f"wrong type for {name!r} in a script entry")
    entry = Entry(**{"on": "any"} | {name: content for name, content in value.items() if content is not None})
    if entry.on not in ON or entry.times < 1 or entry.drop not in (None, *DROPS):
        raise invalid("'on', 'times' or 'drop' of a script entry is out of range")
    _check_kind(entry)
    return entry


def _check_kind(entry: Entry) -> None:
    if entry.kind is None or entry.kind in ERROR_KINDS:
        return
    if entry.kind in IMAGE_KINDS and entry.on in ("image", "any"):
        return
    if entry.kind == "blocked_prompt" and entry.on == "submit":
        return
    if _ends_operation(entry.kind) and entry.on in ("submit", "any"):
        return
    raise invalid(f"kind {entry.kind!r} does not exist or does not fit on {entry.on!r}")


def _ends_operation(kind: str) -> bool:
    name, _, detail = kind.partition(":")
    numbered = name in ("operation_error", "rai_filtered") and detail.isdigit()
    return kind in OPERATION_KINDS or numbered or (name == "status" and detail in STATUSES)
