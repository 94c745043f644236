"""Videos in the making: kept as files, rendered by short-lived processes, found again at start."""

import asyncio
import hashlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import Json, Surface
from .script import Entry
from .video_call import FILMED, VideoCall, file_uri

KEPT_SECONDS = 2 * 24 * 3600
_RENDER_TIMEOUT_SECONDS = 600.0
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

log = logging.getLogger("google_emulator")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One accepted video. ``outcome`` is ``video``, ``cancelled`` or one of the scripted ends.

    ``parent`` is what stands before ``models/`` in the name, ``begins_at`` until when an interaction is
    queued, ``active_at`` until when the film's file is PROCESSING, ``ask`` what else of the request the answer
    depends on.
    """

    id: str
    model: str
    prompt: str
    outcome: str
    file_id: str
    accepted_at: float
    due_at: float
    aspect_ratio: str
    duration_seconds: int
    resolution: str
    source: str | None
    digest: str
    surface: Surface = "gemini"
    parent: str = ""
    submit_path: str = ""
    begins_at: float = 0.0
    active_at: float = 0.0
    audio: bool = True
    deleted: bool = False
    ask: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        if self.surface == "interactions":
            return self.id
        return f"{self.parent}models/{self.model}/operations/{self.id}"


@dataclass(frozen=True, kw_only=True)
class Order:
    """Where a video was ordered and what the answers about it will need."""

    model: str
    surface: Surface
    submit_path: str
    accepted_at: float
    parent: str = ""
    ask: Mapping[str, Any] = field(default_factory=dict)


class Operations:
    """All operations under one directory.

    ``operations/ID.json`` and ``operations/ID.source`` are written before a submit is answered;
    ``files/FILE.mp4`` appears when the film is whole, which is what makes the operation done.
    """

    def __init__(
        self,
        root: Path,
        *,
        video_seconds: float,
        processing_seconds: float,
        renders_at_once: int,
        frames_per_second: int,
    ) -> None:
        self._specs = root / "operations"
        self._files = root / "files"
        self._video_seconds = video_seconds
        self._processing_seconds = processing_seconds
        self._frames_per_second = frames_per_second
        self._slots = asyncio.Semaphore(renders_at_once)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._rendered: dict[str, Path] = {}
        for directory in (self._specs, self._files):
            directory.mkdir(parents=True, exist_ok=True)
        self._all = self._load()
        self._by_file = {operation.file_id: operation for operation in self._all.values()}

    def new(self, call: VideoCall, order: Order, entry: Entry) -> Operation:
        """Return an operation that is not kept yet; ``entry`` is what the script says of its end."""
        operation_id = f"v1_{secrets.token_urlsafe(24)}" if order.surface == "interactions" else random_id(12)
        source = call.source or b""
        shape = f"{call.prompt}|{call.aspect_ratio}|{call.duration_seconds}|{call.resolution}|{call.audio}|"
        begins_at = time.time() + entry.queued_seconds
        due_at = begins_at + self._video_seconds
        processing = self._processing_seconds if entry.processing_seconds is None else entry.processing_seconds
        return Operation(
            id=operation_id,
            model=order.model,
            prompt=call.prompt,
            outcome=entry.operation_outcome() or "video",
            file_id=random_id(12),
            accepted_at=order.accepted_at,
            begins_at=begins_at,
            due_at=due_at,
            active_at=due_at + processing,
            aspect_ratio=call.aspect_ratio,
            duration_seconds=call.duration_seconds,
            resolution=call.resolution,
            audio=call.audio,
            source=f"{operation_id}.source" if call.source is not None else None,
            digest=hashlib.sha256(shape.encode("utf-8", "replace") + source).hexdigest(),
            surface=order.surface,
            parent=order.parent,
            submit_path=order.submit_path,
            ask=order.ask,
        )

    def keep(self, operation: Operation, source: bytes | None) -> None:
        """Write the operation down; blocks on the disk."""
        if operation.source is not None and source is not None:
            write_whole(self._specs / operation.source, source)
        spec = json.dumps(asdict(operation)).encode("utf-8")
        write_whole(self._specs / f"{operation.id}.json", spec)
        self._all[operation.name] = operation
        self._by_file[operation.file_id] = operation

    def start(self, operation: Operation) -> None:
        """Begin to render what is not rendered yet."""
        if operation.outcome == "video" and not self.path(operation).exists():
            self._tasks[operation.name] = asyncio.create_task(self._render(operation))

    def resume(self) -> None:
        """Begin again what the last process left unfinished, and delete what is past its time."""
        for operation in list(self._all.values()):
            if self._expired(operation):
                self._delete(operation)
            else:
                self.start(operation)

    async def close(self) -> None:
        """Stop all renders; they are begun again at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ended(self, operation: Operation) -> Operation:
        """Wait until the operation is done; return it as it is then."""
        task = self._tasks.get(operation.name)
        if task is not None:
            await asyncio.wait([task])
        await asyncio.sleep(max(0.0, operation.due_at - time.time()))
        return self._all[operation.name]

    async def cancel(self, operation: Operation) -> Operation:
        """End the operation without a film; return it as it is then."""
        task = self._tasks.pop(operation.name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        cancelled = replace(self._all[operation.name], outcome="cancelled", due_at=time.time())
        await asyncio.to_thread(self.keep, cancelled, None)
        return cancelled

    def forget(self, operation: Operation) -> None:
        """Find the operation no more; its film stays. Blocks on the disk."""
        self.keep(replace(self._all[operation.name], deleted=True), None)

    def find(self, name: str) -> Operation | None:
        """Return the operation or interaction of that full name."""
        operation = self._all.get(name)
        if operation is None or operation.deleted or self._expired(operation):
            return None
        return operation

    def find_file(self, file_id: str) -> Operation | None:
        """Return the operation whose film has that id, also while it is being made."""
        operation = self._by_file.get(file_id)
        if operation is None or operation.surface == "vertex" or self._expired(operation):
            return None
        return operation if operation.outcome in FILMED else None

    def accepted_after(self, moment: float) -> list[Operation]:
        return [operation for operation in self._all.values() if operation.accepted_at > moment]

    def path(self, operation: Operation) -> Path:
        return self._files / f"{operation.file_id}.mp4"

    def done(self, operation: Operation) -> bool:
        made = operation.outcome != "video" or self.path(operation).exists()
        return made and time.time() >= operation.due_at

    def active(self, operation: Operation) -> bool:
        """Whether the film can be downloaded."""
        ready = operation.outcome == "video" and time.time() >= operation.active_at
        return ready and self.done(operation)

    def file_body(self, operation: Operation) -> Json:
        """Return the File resource of the operation's film."""
        body: Json = {
            "name": f"files/{operation.file_id}",
            "mimeType": "video/mp4",
            "createTime": _timestamp(operation.accepted_at),
            "updateTime": _timestamp(max(operation.due_at, operation.active_at)),
            "expirationTime": _timestamp(operation.accepted_at + KEPT_SECONDS),
            "uri": file_uri(operation.file_id).partition(":download")[0],
            "downloadUri": file_uri(operation.file_id),
            "source": "GENERATED",
            "state": "PROCESSING",
        }
        if operation.outcome == "file_failed" and self.done(operation):
            body["state"] = "FAILED"
            body["error"] = {"code": 13, "message": "The file could not be processed."}
        elif self.active(operation):
            body["state"] = "ACTIVE"
            body["sizeBytes"] = str(self.path(operation).stat().st_size)
            body["videoMetadata"] = {"videoDuration": f"{operation.duration_seconds}s"}
        return body

    async def _render(self, operation: Operation) -> None:
        target = self.path(operation)
        async with self._slots:
            twin = self._rendered.get(operation.digest)
            if twin is not None and twin.exists():
                os.link(twin, target)
            elif await self._run_renderer(operation, target):
                self._rendered[operation.digest] = target
            else:
                failed = replace(self._all[operation.name], outcome="operation_error:13")
                await asyncio.to_thread(self.keep, failed, None)
        self._tasks.pop(operation.name, None)

    async def _run_renderer(self, operation: Operation, target: Path) -> bool:
        spec = self._specs / f"{operation.id}.json"
        numbers = (str(os.getpid()), str(self._frames_per_second))
        command = (sys.executable, "-m", f"{__package__}.render", spec, target, *numbers)
        process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        try:
            code = await asyncio.wait_for(process.wait(), _RENDER_TIMEOUT_SECONDS)
        except TimeoutError:
            code = -1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            log.error("render_failed", extra={"operation": operation.name, "exit_code": code})
        return code == 0

    def _load(self) -> dict[str, Operation]:
        operations = (Operation(**json.loads(path.read_bytes())) for path in self._specs.glob("*.json"))
        return {operation.name: operation for operation in operations}

    def _expired(self, operation: Operation) -> bool:
        return time.time() > operation.accepted_at + KEPT_SECONDS

    def _delete(self, operation: Operation) -> None:
        for path in (self.path(operation), self._specs / f"{operation.id}.source"):
            path.unlink(missing_ok=True)
        (self._specs / f"{operation.id}.json").unlink(missing_ok=True)
        del self._all[operation.name]
        del self._by_file[operation.file_id]


def random_id(length: int) -> str:
    """Return lower-case letters and digits only: clients find ids in uris by that alphabet."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a kill of this process it is there whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(data)
    part.replace(path)


def _timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
