"""What was asked of the emulator and what Google would have been paid for, kept on disk."""

import json
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_REMEMBERED = 20_000

Row = dict[str, Any]


@dataclass
class Exchange:
    """One request to the product API, filled in as it becomes known; ``sha256`` is that of media given out."""

    on: str
    method: str
    path: str
    surface: str = "gemini"
    model: str = ""
    prompt: str = ""
    accepted: bool = False
    operation: str | None = None
    refusal: str | None = None
    webhook: Row | None = None
    dropped: bool = False
    sha256: str | None = None
    time: float = field(default_factory=time.time)

    def row(self, status: int | None) -> Row:
        """Return the row as shown by the management interface and kept on disk."""
        row: Row = {
            "time": self.time,
            "on": self.on,
            "method": self.method,
            "path": self.path,
            "surface": self.surface,
            "model": self.model,
            "prompt": self.prompt,
            "accepted": self.accepted,
            "status": status,
        }
        extras = {
            "operation": self.operation,
            "refusal": self.refusal,
            "webhook": self.webhook,
            "dropped": self.dropped,
            "sha256": self.sha256,
        }
        return row | {name: value for name, value in extras.items() if value}


class Journal:
    """An append-only file of requests with the count of accepted paid calls.

    A row of an accepted call is on the disk (fdatasync) when :meth:`accept` returns; its ``status`` there is
    null, because the answer comes later. The other rows are handed to the operating system only, so they
    outlive the process but not the machine. At start and at reset the file is rewritten in one step. The last
    20,000 rows are remembered; ``since`` is the time up to which rows were forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._written = 0
        self._synced = 0
        self._rows: deque[Row] = deque(maxlen=_REMEMBERED)
        self.accepted = {"image": 0, "video": 0}
        self.since = 0.0
        self._load()
        self._file = self._rewrite()

    def accept(self, exchange: Exchange) -> Row:
        """Record a paid call durably; blocks on the disk."""
        exchange.accepted = True
        row = exchange.row(None)
        with self._lock:
            self._count(row)
            self._write(row)
            ticket = self._written
        with self._sync_lock:
            # One flush serves all rows written so far, so calls that arrive together share it.
            if self._synced < ticket:
                reached = self._written
                os.fdatasync(self._file.fileno())
                self._synced = reached
        return row

    def note(self, exchange: Exchange, status: int | None) -> None:
        """Record a request that was not paid for."""
        row = exchange.row(status)
        with self._lock:
            self._remember(row)
            self._write(row)

    def report(self) -> dict[str, Any]:
        """Return the counters and the remembered rows, oldest first."""
        with self._lock:
            return {"accepted": dict(self.accepted), "requests": list(self._rows)}

    def operations(self) -> set[str]:
        """Return the names of the operations in the remembered rows."""
        return {row["operation"] for row in self._rows if row["on"] == "submit" and "operation" in row}

    def reset(self) -> None:
        """Forget all rows and counters, on disk too."""
        with self._sync_lock, self._lock:
            self._rows.clear()
            self.accepted = {"image": 0, "video": 0}
            self.since = time.time()
            self._file.close()
            self._file = self._rewrite()

    def close(self) -> None:
        self._file.close()

    def _remember(self, row: Row) -> None:
        if len(self._rows) == self._rows.maxlen:
            self.since = max(self.since, self._rows[0]["time"])
        self._rows.append(row)

    def _count(self, row: Row) -> None:
        self._remember(row)
        if row["accepted"]:
            self.accepted["video" if row["on"] == "submit" else "image"] += 1

    def _write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._written += 1

    def _load(self) -> None:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # the process was killed in the middle of this row
                row = json.loads(line)
                if "since" in row:
                    self.since, self.accepted = row["since"], row["accepted"]
                    continue
                known = row.pop("counted", False)
                if known:
                    self._rows.append(row)
                else:
                    self._count(row)

    def _rewrite(self) -> IO[str]:
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as fresh:
            fresh.write(json.dumps({"since": self.since, "accepted": self.accepted}) + "\n")
            fresh.writelines(json.dumps(row | {"counted": True}) + "\n" for row in self._rows)
            fresh.flush()
            os.fsync(fresh.fileno())
        part.replace(self._path)
        return self._path.open("a", encoding="utf-8")
