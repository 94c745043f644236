"""Everything that the matrix breaks, on servers of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack.ports import free_port
from devstack.stack.postgres import Postgres
from devstack.stack.rabbitmq import RabbitMQ
from superstoryboard.db.migrate import migrate
from superstoryboard.process.checkpoints import VARIABLE
from tests.e2e.pipeline import KV, Pipeline, pipeline
from tests.faults.proxy import LossyProxy, lossy_proxy
from tests.running import Service
from tests.waiting import wait_for

LEASE_SECONDS = 5
LOOK_FOR_LEASES_SECONDS = 6.0
"""How often an idle worker looks for jobs whose lease has ended."""
RECOVERIES = 2
"""How many leases a recovery may take one after the other."""
SEARCH_SECONDS = int(2 * RECOVERIES * (LEASE_SECONDS + LOOK_FOR_LEASES_SECONDS))
"""A lost operation is looked for so long, from before its submit: a worker that dies in it gives the job back after a
lease, the next one starts meanwhile, and half of the time is left for a busy machine."""
IMAGES_AT_ONCE = 5
"""IMAGE_CONCURRENCY: as many answers can be lost with one image_worker."""
VIDEOS_AT_ONCE = 10
"""VIDEO_CONCURRENCY."""
STORAGE = {"STORAGE_TIMEOUT_SECONDS": "6"}
WORKER = STORAGE | {
    "IMAGE_LEASE_SECONDS": str(LEASE_SECONDS),
    "VIDEO_LEASE_SECONDS": str(LEASE_SECONDS),
    "IMAGE_CONCURRENCY": str(IMAGES_AT_ONCE),
    "VIDEO_CONCURRENCY": str(VIDEOS_AT_ONCE),
    "LOST_OPERATION_SEARCH_SECONDS": str(SEARCH_SECONDS),
}
QUEUES = ("image_generation_queue", "video_generation_queue")
STEP_SECONDS = 120.0
FOUND_NAMES = "superstoryboard_lost_names_total"
ENDED = "('SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELLED')"


@dataclass
class World:
    """A pipeline, what it stands on, and the chance that a row may use.

    Of the row that runs: `asked` jobs in the storyboards `boards`, `struck` how much its fault has met, `wrong` what it
    found broken by itself, `ended` set when its submits must stop, `video_model` that of its videos.
    `away_seconds`: how long a database stays away.
    """

    running: Pipeline
    postgres: Postgres
    rabbitmq: RabbitMQ
    proxy: LossyProxy
    folder: Path
    chance: random.Random
    metrics: str
    away_seconds: float = 90.0
    row: str = ""
    boards: list[str] = field(default_factory=list)
    asked: int = 0
    video_model: str = ""
    struck: int = 0
    wrong: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    others: list[Service] = field(default_factory=list)
    _found: dict[int, float] = field(default_factory=dict)
    _found_before: float = 0.0

    def begin(self, row: str, asked: int) -> None:
        """A new row: empty books at the emulators, and a storyboard with a scene for each job."""
        self.row, self.asked, self.struck = row, asked, 0
        self.boards, self.wrong, self.ended = [], [], threading.Event()
        self._found_before = self._names_found()
        self.add_board(row, asked)
        self.running.google.post("/_emulator/reset").raise_for_status()
        self.mend_storage()

    def add_board(self, board: str, scenes: int) -> None:
        """One more storyboard whose jobs are counted with the row."""
        self.boards.append(board)
        self.running.put(f"storyboard:{board}", {"scenes": [{"id": f"s{place}"} for place in range(scenes)]})

    def mend_storage(self) -> None:
        """Storage answers as usual again; its log begins anew."""
        httpx.post(f"{self.running.storage_url}/_emulator/reset", timeout=30, trust_env=False).raise_for_status()

    def wait(self, seconds: float) -> None:
        """Let the system run for a while."""
        threading.Event().wait(seconds)

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = STEP_SECONDS) -> None:
        """Wait until something holds."""
        wait_for(holds, what=what, seconds=seconds)

    def jobs(self, where: str = "true", kind: str = "") -> int:
        """Jobs of the row, of one kind or all, for which a condition holds."""
        records = self.running.sql.execute(
            f"select count(*) from superstoryboard.jobs where storyboard_id = any (%s) and kind like %s and {where}",
            (self.boards, kind or "%"),
        ).fetchone()
        assert records is not None
        return int(records[0])

    def some_time(self, kind: str = "") -> None:
        """A random moment while jobs run: when a random part of them has ended, and a bit."""
        share = self.chance.uniform(0, 0.6)
        of_kind = self.asked // 4 if kind == "video" else self.asked - self.asked // 4
        target = int(share * (self.asked if not kind else of_kind))
        self.wait_until(lambda: self.jobs("started_at is not null", kind) > 0, "a job that runs")
        self.wait_until(lambda: self.jobs(f"state in {ENDED}", kind) >= target, f"{target} ended jobs")
        self.wait(self.chance.uniform(0, 0.1))

    def strike(self, kind: str = "") -> None:
        """Note what a fault is about to meet: the jobs that have not ended, save the one that is scheduled."""
        self.struck += self.jobs(f"state not in {ENDED} and request_id is distinct from '{self.row}-0'", kind)

    def arm(self, service: str, step: str) -> Path:
        """Restart a service so that it stops at the step; the file appears when it does."""
        file = self.folder / f"{self.row}-{step}"
        process = self.running.services[service]
        process.stop()
        process.start(**{VARIABLE: f"{step}:{file}"})
        process.wait_serving()
        return file

    def kill_armed(self, service: str, file: Path, between: Callable[[World], None]) -> None:
        """Wait until the service stands at its step, kill it there, and start it as usual after `between`."""
        self.wait_until(file.exists, f"{service} at its step")
        self.struck += 1
        self._names_found()
        process = self.running.services[service]
        process.kill()
        between(self)
        process.start()
        process.wait_serving()

    def kill(self, service: str) -> None:
        """kill -9 and a new start."""
        self._names_found()
        process = self.running.services[service]
        process.kill()
        process.start()
        process.wait_serving()

    def restart(self, *services: str, **changes: str) -> None:
        """SIGTERM and a new start, with settings of that start alone."""
        chosen = [self.running.services[name] for name in services or self.running.services]
        for process in chosen:
            process.stop()
            process.start(**changes)
        for process in chosen:
            process.wait_serving()

    def end_leases(self, where: str = "true") -> int:
        """As if leases of running jobs had run out, and the workers were told; answers how many."""
        ended = self.running.sql.execute(
            "update superstoryboard.turns t set lease_until = now() from superstoryboard.jobs j"
            f" where j.id = t.job and t.lease_until is not null and {where}"
        )
        for queue in QUEUES:
            self.running.sql.execute("select superstoryboard.wake(%s)", (queue,))
        return ended.rowcount

    def end_others(self) -> None:
        """Stop the further processes of a row."""
        while self.others:
            self.others.pop().stop()

    def now(self) -> datetime:
        """The time of the database."""
        row = self.running.sql.execute("select clock_timestamp()").fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    def reconnect(self) -> None:
        """A connection of ours after the database was away."""
        self.running.sql.close()
        self.running.sql = psycopg.connect(self.postgres.url, autocommit=True)

    def kv_rows(self, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        """Rows of the kv table whose keys begin so."""
        return self.running.sql.execute(
            f"select key, value from {KV} where starts_with(key, %s) and jsonb_typeof(value) = 'object'", (prefix,)
        ).fetchall()

    def names_found(self) -> int:
        """Lost operation names that the system has found again in this row, by its own metric."""
        return round(self._names_found() - self._found_before)

    def _names_found(self) -> float:
        """Read the metric of the process that runs; what others had counted before their end is remembered."""
        with suppress(httpx.HTTPError, AssertionError):
            pid = self.running.services["video_worker"].pid
            page = httpx.get(f"http://{self.metrics}/metrics", timeout=5, trust_env=False).raise_for_status().text
            self._found[pid] = sum(
                sample.value
                for family in text_string_to_metric_families(page)
                for sample in family.samples
                if sample.name == FOUND_NAMES and sample.labels.get("found") == "yes"
            )
        return sum(self._found.values())

    def open_rows(self) -> str:
        """The jobs that have not ended, in a few words, for a report; also of a world that is broken itself."""
        try:
            with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=5) as sql:
                rows = sql.execute(
                    "select kind, state, attempt, coalesce(error ->> 'code', '-') as code, count(*)"
                    f" from superstoryboard.jobs where storyboard_id = any (%s) and state not in {ENDED}"
                    " group by 1, 2, 3, 4 order by 1, 2, 3, 4",
                    (self.boards,),
                ).fetchall()
        except psycopg.Error as error:
            return f"unknown, the database does not answer ({type(error).__name__})"
        return "; ".join(f"{row[4]} {row[0]} {row[1]} attempt {row[2]} {row[3]}" for row in rows) or "nothing"

    def give_up(self) -> None:
        """Kill every service: nothing more is asked of this world."""
        self.ended.set()
        for service in [*self.running.services.values(), *self.others]:
            service.kill()

    def dead_processes(self) -> list[str]:
        """Services that have ended by themselves."""
        endings = {name: service.ended for name, service in self.running.services.items()}
        return [f"{name} ended with {code}" for name, code in endings.items() if code is not None]


@contextmanager
def world(
    seed: int,
    wrapper: Sequence[str] = (),
    prepare: Callable[[psycopg.Connection], None] | None = None,
    away_seconds: float = 90.0,
) -> Iterator[World]:
    """Start everything; stopped in order at the end.

    `wrapper` is a module, with its arguments, that runs the services; `prepare` is called before they start.
    """
    with ExitStack() as stack:
        names = ("postgres-", "rabbitmq-", "faults-")
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix=name))) for name in names]
        rabbitmq = stack.enter_context(RabbitMQ(folders[1]))
        postgres = stack.enter_context(Postgres(folders[0], settings={"fsync": "off"}))
        migrate(postgres.url, kv_table=KV)
        if prepare is not None:
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                prepare(connection)
        metrics = f"127.0.0.1:{free_port()}"
        started = stack.enter_context(
            pipeline(
                postgres.url,
                folders[2],
                rabbitmq.url,
                wrapper=wrapper,
                google_options=("--image-seconds", "0.2"),
                image_worker=WORKER,
                video_worker=WORKER | {"METRICS_LISTEN": metrics},
                asset_writer=STORAGE,
            )
        )
        proxy = stack.enter_context(lossy_proxy(postgres.url))
        made = World(started, postgres, rabbitmq, proxy, folders[2], random.Random(seed), metrics, away_seconds)
        stack.callback(_close, made)
        yield made


def _close(made: World) -> None:
    made.ended.set()
    made.running.sql.close()
    made.end_others()
