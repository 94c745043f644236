"""What every process does: runs its duties until SIGTERM, keeps its health true, stops in order."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

from superstoryboard.db.database import Database, DatabaseUnavailableError
from superstoryboard.db.errors import PoolBusyError
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.logs import get_logger

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


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every process has."""
    module = sys.modules["__main__"].__spec__
    name = module.name.removesuffix(".__main__") if module is not None else ""
    parser = argparse.ArgumentParser(prog=f"python -m {name}" if name else None, description=description)
    parser.add_argument("--check-config", action="store_true", help="check the settings and exit")
    return parser


def run_and_exit(service: Coroutine[Any, Any, bool]) -> NoReturn:
    """Run a service to its end. Exit code 0 where all went well, 1 where a duty or the start failed."""
    sys.exit(0 if asyncio.run(_to_its_end(service)) else 1)


async def _to_its_end(service: Coroutine[Any, Any, bool]) -> bool:
    try:
        return await service
    except OSError as error:
        log.critical("The process cannot start", reason=str(error))
    except Exception as error:
        log.critical("The process stops after an error at start or shutdown", exc_info=error)
    # A pool of connections that is left open may swallow its cancel, and asyncio would wait for it for ever.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(1)


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
