"""What every process does: runs its duties until SIGTERM, keeps its health true, stops in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.errors import PoolBusyError
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.metrics_page import MetricsPage

HEALTH_SECONDS = 1.0
HEALTH_TIMEOUT_SECONDS = 3.0

log = get_logger("process")


class Stop:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def listen(self) -> None:
        """Take over SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, loop)

    def _signalled(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


async def open_ports(page: MetricsPage, server: Server, duties: Duties, *, reflect: bool) -> None:
    """Serve metrics and calls, and keep current what calls are checked with.

    Raises:
        OSError: an address is taken or not ours.
    """
    await page.start()
    await server.start(reflect=reflect)
    for duty, work in server.duties():
        duties.start(duty, work)


async def watch_health(server: Server, healthy: Callable[[], Awaitable[bool]]) -> None:
    """Keep the server's health equal to whether the process can do its work."""
    serving = False
    while True:
        now = await healthy()
        if now != serving:
            serving = now
            await server.set_serving(serving=serving)
            log.info("Health changed", serving=serving)
        await asyncio.sleep(HEALTH_SECONDS)


async def schema_answers(database: Database) -> bool:
    """True while the database answers in time and has our schema. A process whose own work fills its pool is well."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS):
            row = await database.fetch_one("select to_regclass('superstoryboard.jobs') is not null as ready")
    except (PoolBusyError, TimeoutError):
        return database.answered_within(HEALTH_TIMEOUT_SECONDS)
    except DatabaseUnavailableError:
        return False
    return bool(row["ready"])


class Duties:
    """Background tasks of a process. One that ends by an error stops the process, so that it starts anew."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed = False

    def start(self, name: str, duty: Coroutine[Any, Any, Any]) -> None:
        """Run a duty in the background."""
        task = asyncio.create_task(duty, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("A background task failed; the process stops", duty=task.get_name(), exc_info=task.exception())
            self.failed = True
            self._stop.asked.set()

    async def aclose(self) -> None:
        """Cancel every duty and wait for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
