"""A pipeline whose parts can be taken away from it between a paid call and its asset."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from superstoryboard.process.checkpoints import VARIABLE
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import Pipeline
from tests.waiting import wait_for

WAIT_SECONDS = 90.0

KEPT_WAITING = "Staging upload failed; retrying"


@dataclass
class Stage:
    """A pipeline whose services reach the database as a role that can be shut out; the emulators stay."""

    running: Pipeline
    admin: psycopg.Connection
    stack: ExitStack
    before: dict[str, int] = field(default_factory=dict)

    def held(self, kind: str, count: int = 1) -> list[job_pb2.Job]:
        """Jobs whose calls have reached Google, which does not answer before it is told to."""
        before = self.running.accepted()[kind]
        on = {"image": "image", "video": "submit"}[kind]
        self.running.script({"on": on, "hold": True, "times": count})
        ask = self.running.image if kind == "image" else self.running.video
        jobs = [ask(f"held-{kind}-{before}-{number}") for number in range(count)]
        wait_for(self.running.accepted, lambda accepted: accepted[kind] == before + count)
        return jobs

    def release(self, count: int = 1) -> None:
        """Let Google answer calls that are held; one that was only just accepted is held a moment later."""
        released = 0
        while released < count:
            released += self.running.google.post("/_emulator/release").raise_for_status().json()["released"]

    def accepted_since(self, before: dict[str, int]) -> tuple[int, int]:
        """Images and videos that Google was paid for since."""
        now = self.running.accepted()
        return now["image"] - before["image"], now["video"] - before["video"]

    def shut_out(self) -> None:
        """For the services the database is away."""
        self.admin.execute("alter role services nologin")
        self.admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'services'")

    def let_in(self) -> None:
        self.admin.execute("alter role services login")

    def read_only(self, value: str) -> None:
        self.admin.execute(f"alter system set default_transaction_read_only = {value}")
        self.admin.execute("select pg_reload_conf()")
        # The server tells its sessions when it comes to it; those that are new say whether it did.
        wait_for(lambda: self._new_sessions_say(value))

    def _new_sessions_say(self, value: str) -> bool:
        with psycopg.connect(self.running.database_url) as fresh:
            return fresh.execute("show default_transaction_read_only").fetchone() == (value,)

    def objects(self, job: job_pb2.Job) -> int:
        """What lies in staging for a job."""
        record = self.admin.execute(
            "select count(*) from storage.objects where bucket_id = 'artifact-staging' and name like %s",
            (f"{job.id}/%",),
        ).fetchone()
        assert record is not None
        return int(record[0])

    def unstaged(self) -> None:
        """Take all scripted answers of Storage back."""
        httpx.post(f"{self.running.storage_url}/_emulator/reset").raise_for_status()


def logged(running: Pipeline, service: str, event: str, start: int = 0) -> bool:
    return event.encode() in running.services[service].log.read_bytes()[start:]


def stop_at(stage: Stage, service: str, step: str, folder: Path) -> None:
    """Restart a service so that it stops at a step."""
    process = stage.running.services[service]
    process.stop()
    process.start(**{VARIABLE: f"{step}:{folder / step}"})
    process.wait_serving()
