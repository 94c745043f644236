"""One run over a pipeline: every part in turn, then what must be true of its processes, files and records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from devstack.stack.ports import free_port
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.e2e.pipeline import NAMES, Pipeline, pipeline
from tests.fuzz.answers import fuzz_answers
from tests.fuzz.bodies import fuzz_bodies
from tests.fuzz.calls import fuzz_calls
from tests.fuzz.frames import fuzz_frames
from tests.fuzz.planted import GOOGLE_KEY, PASSWORD, PROMPT, SIGNED, planted
from tests.fuzz.tally import Tally
from tests.integration.token_steps import keep
from tests.running import ALICE, Service, bearer

SHARES = {"calls": 0.58, "wire": 0.22, "answers": 0.16, "bodies": 0.04}
"""Of the inputs, by part."""
WARM_UP = 0.2
"""Share of the calls and frames after which memory is first looked at: by then everything is imported and pooled."""
GROWTH_SHARE = 0.10
"""By how much memory may have grown between that and the end."""
TROUBLE = ("Traceback", "Call failed", "Unexpected", "failed unexpectedly")


@dataclass
class Fuzzed:
    """A running pipeline with secrets in all places that have one."""

    running: Pipeline
    folder: Path
    metrics: dict[str, str]
    service_token: str

    @property
    def services(self) -> list[Service]:
        """The services that take calls."""
        return [self.running.services[name] for name in self.metrics]

    def memory(self) -> dict[str, int]:
        """Bytes that each service holds."""
        return {service.name: psutil.Process(service.pid).memory_info().rss for service in self.services}


@contextmanager
def fuzzed_pipeline(
    database_url: str, folder: Path, amqp_url: str = "", names: Sequence[str] = NAMES
) -> Iterator[Fuzzed]:
    """Everything that is fuzzed, started with planted secrets; of the services those with these names."""
    metrics = {name: f"127.0.0.1:{free_port()}" for name in names}
    scratch = folder / "scratch"
    scratch.mkdir()
    common = {"MAX_ATTEMPTS": "1", "TMPDIR": str(scratch), "DATABASE_URL": f"{database_url}?password={PASSWORD}"}
    keys = {"GOOGLE_GENERATIVE_AI_API_KEY": GOOGLE_KEY, "GOOGLE_VERTEX_API_KEY": GOOGLE_KEY}
    changes: dict[str, Any] = {
        name: common | {"METRICS_LISTEN": metrics[name]} | (keys if name.endswith("_worker") else {}) for name in names
    }
    options = ("--api-key", GOOGLE_KEY)
    with psycopg.connect(database_url, autocommit=True) as sql:
        service_token = keep(sql, "planted")
    with pipeline(database_url, folder, amqp_url, names, google_options=options, **changes) as running:
        yield Fuzzed(running, folder, metrics, service_token)


def fuzz(
    world: Fuzzed, seed: int, inputs: int, say: Callable[[str], None] = lambda _: None
) -> tuple[Tally, dict[str, tuple[int, int]]]:
    """All parts; answers the tally, and of each service its memory after the warm-up and at the end."""
    tally = Tally(planted(world.service_token))
    ids = _jobs(world)
    calls, frames = int(inputs * SHARES["calls"]), int(inputs * SHARES["wire"])
    first = int(calls * WARM_UP), int(frames * WARM_UP)
    _ports(world, seed, *first, tally=tally, ids=ids)
    say(f"{tally.inputs} inputs; answers")
    asyncio.run(fuzz_answers(seed, int(inputs * SHARES["answers"]), tally))
    say(f"{tally.inputs} inputs; bodies of the queues")
    fuzz_bodies(world.running, seed, int(inputs * SHARES["bodies"]), tally, list(world.metrics))
    say(f"{tally.inputs} inputs; the rest of the calls and frames")
    before = world.memory()
    _ports(world, seed + 1, calls - first[0], inputs - tally.inputs - (calls - first[0]), tally=tally, ids=ids)
    after = world.memory()
    _look_everywhere(world, tally)
    return tally, {name: (before[name], after[name]) for name in before}


def _ports(world: Fuzzed, seed: int, calls: int, frames: int, *, tally: Tally, ids: list[str]) -> None:
    """Calls and frames, half of them for ingest and the rest for the others."""
    weights = {service.name: 0.55 if service.name == "ingest" else 0.15 for service in world.services}
    rest = {"calls": calls, "frames": frames}
    for service in reversed(world.services):
        last = service is world.services[0]
        some = rest["calls"] if last else int(calls * weights[service.name])
        asyncio.run(fuzz_calls(service, seed, some, tally, ids=ids, backend=bearer(world.service_token)))
        wires = rest["frames"] if last else int(frames * weights[service.name])
        fuzz_frames(service.address, service.name, seed, wires, tally)
        rest = {"calls": rest["calls"] - some, "frames": rest["frames"] - wires}


def _jobs(world: Fuzzed) -> list[str]:
    """Jobs that exist, one with a signed URL."""
    image = job_pb2.ImageGeneration(storyboard_id="board", prompt=PROMPT)
    made = [world.running.stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=ALICE) for _ in range(4)]
    image.source_image_url = SIGNED
    made.append(world.running.stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=ALICE))
    return [each.job.id for each in made]


def _look_everywhere(world: Fuzzed, tally: Tally) -> None:
    """Search logs, events, errors, metrics, command lines and files; every process must still be there."""
    for service in world.services:
        log = service.log.read_text(errors="replace")
        for word in TROUBLE:
            if (at := log.find(word)) >= 0:
                tally.failed(f"the log of {service.name}: {log[max(0, at - 200) : at + 1200]}")
        tally.shown(f"the log of {service.name}", log)
        tally.shown(f"the metrics of {service.name}", httpx.get(f"http://{world.metrics[service.name]}/metrics").text)
        process = psutil.Process(service.pid)
        for each in (process, *process.children(recursive=True)):
            tally.shown(f"the command line of {service.name}", "\0".join(each.cmdline()))
    for path in (world.folder / "scratch").rglob("*"):
        if path.is_file():
            tally.shown(f"a file of {path.name}", path.read_bytes().decode("latin-1"))
    for statement in ("select message from superstoryboard.job_events", "select error::text from superstoryboard.jobs"):
        rows = world.running.sql.execute(statement).fetchall()
        tally.shown("events and errors", "\n".join(str(row[0]) for row in rows))
