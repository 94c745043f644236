"""How fast jobs are accepted: CreateImageJob beside a bare grpc.aio echo server, same callers, one run.

Run: python -m benchmarks.accept [--callers 16] [--seconds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import grpc
from rich.console import Console
from rich.table import Table

from devstack.stack.console import LogFiles
from devstack.stack.ports import LOOPBACK, free_port
from devstack.stack.postgres import Postgres
from devstack.stack.probes import CHANNEL_OPTIONS, grpc_serving
from devstack.stack.program import Program, base_env
from devstack.stack.supervisor import Supervisor
from devstack.stack.tokens import Secrets
from superstoryboard.db.migrate import migrate
from superstoryboard.v1.generation_service_pb2 import CreateImageJobRequest
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.job_pb2 import ImageGeneration

ROOT = Path(__file__).resolve().parents[1]
KV_TABLE = "kv_store_7ee7668a"
TARGET = 0.45
ROUNDS = 3
WARM_UP_SECONDS = 0.5
CALL_SECONDS = 10.0
LONGEST_SECONDS = 20.0
REQUEST = CreateImageJobRequest(
    image=ImageGeneration(storyboard_id="benchmark", scene_id="scene-001", prompt="A lighthouse at dusk")
)
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Measured:
    """Answered calls of one server, over all its rounds."""

    name: str
    address: str
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each call."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, hundredth: int) -> float:
        """Milliseconds within which so many hundredths of the calls were answered."""
        return quantiles(self.latencies, n=100)[hundredth - 1] * 1000


async def round_of(server: Measured, callers: int, seconds: float, metadata: Metadata) -> None:
    """Call a server from so many callers at once, each calling again as soon as it is answered.

    Raises:
        grpc.aio.AioRpcError: a call failed; a run with errors says nothing.
    """
    async with grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
        stub = GenerationServiceStub(channel)
        started = time.monotonic()

        async def caller() -> None:
            while (begun := time.monotonic()) < started + seconds:
                await stub.CreateImageJob(REQUEST, timeout=CALL_SECONDS, metadata=metadata)
                server.latencies.append(time.monotonic() - begun)

        await asyncio.gather(*(caller() for _ in range(callers)))
        server.seconds += time.monotonic() - started


async def measure(callers: int, seconds: float) -> tuple[Measured, Measured]:
    """Start Postgres, ingest and the echo server, and call the two in turn, so that a slow moment hits both."""
    secrets = Secrets()
    metadata = (("authorization", f"Bearer {secrets.token('benchmark')}"),)
    echo = Measured("bare echo", f"{LOOPBACK}:{free_port()}")
    ingest = Measured("CreateImageJob", f"{LOOPBACK}:{free_port()}")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        async with Supervisor(LogFiles(folder / "logs")) as supervisor:
            postgres = Postgres(folder / "postgres")
            await supervisor.start(await asyncio.to_thread(postgres.prepare))
            await asyncio.to_thread(migrate, postgres.url, kv_table=KV_TABLE)
            await supervisor.start(*programs(echo.address, ingest.address, postgres.url, secrets))
            for server in (echo, ingest):
                await round_of(Measured("warm-up", server.address), callers, WARM_UP_SECONDS, metadata)
            for _ in range(ROUNDS):
                await round_of(echo, callers, seconds / ROUNDS, metadata)
                await round_of(ingest, callers, seconds / ROUNDS, metadata)
    return echo, ingest


def programs(echo: str, ingest: str, database_url: str, secrets: Secrets) -> list[Program]:
    """The two servers. Ingest has its own settings' defaults, a real token check and a durable database."""
    settings = {
        "DATABASE_URL": database_url,
        "DATABASE_LISTEN_URL": database_url,
        "GRPC_LISTEN": ingest,
        "SUPABASE_JWT_SECRET": secrets.jwt,
    }
    return [
        Program(
            name="echo",
            argv=[sys.executable, "-m", "benchmarks.echo", echo],
            env=base_env(),
            cwd=ROOT,
            probe=grpc_serving(echo),
            stage=2,
        ),
        Program(
            name="ingest",
            argv=[sys.executable, "-m", "services.ingest"],
            env=base_env() | settings,
            cwd=ROOT,
            probe=grpc_serving(ingest),
            stage=2,
        ),
    ]


def table_of(servers: tuple[Measured, Measured], callers: int) -> Table:
    """A row per server."""
    table = Table(title=f"{callers} callers on one channel, loopback")
    for column in ("server", "calls", "calls/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for server in servers:
        numbers = (f"{server.rate:.0f}", f"{server.percentile(50):.1f}", f"{server.percentile(99):.1f}")
        table.add_row(server.name, str(len(server.latencies)), *numbers)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--callers", type=int, default=16, choices=range(1, 257), metavar="N", help="calls at once")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="time for each server")
    options = parser.parse_args()
    if not 0.3 <= options.seconds <= LONGEST_SECONDS:
        parser.error(f"--seconds must be from 0.3 to {LONGEST_SECONDS:g}")
    echo, ingest = asyncio.run(measure(options.callers, options.seconds))
    console = Console()
    console.print(table_of((echo, ingest), options.callers))
    console.print(f"ratio {ingest.rate / echo.rate:.2f} (wanted: at least {TARGET})")


if __name__ == "__main__":
    main()
