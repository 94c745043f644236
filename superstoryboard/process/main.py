"""The command line of every process: its options, its settings, its exit code."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from superstoryboard.config.settings import AnySettings, read_or_exit
from superstoryboard.telemetry.logs import configure_logs, get_logger

Run = Coroutine[Any, Any, bool]
"""A service until its end. False where something failed."""

log = get_logger("process")


def start(name: str, description: str | None, kind: type[AnySettings], run: Callable[[AnySettings], Run]) -> NoReturn:
    """Read the settings, run the service with them, and exit."""
    _start(name, _parser(description), kind, lambda settings, _: run(settings))


def start_worker(
    name: str, description: str | None, kind: type[AnySettings], run: Callable[[AnySettings, int | None], Run]
) -> NoReturn:
    """As `start`, for a service that can also process some messages and end."""
    parser = _parser(description)
    parser.add_argument("--once", type=int, metavar="N", help="process up to N messages and exit")
    _start(name, parser, kind, lambda settings, options: run(settings, options.once))


def _start(
    name: str,
    parser: argparse.ArgumentParser,
    kind: type[AnySettings],
    run: Callable[[AnySettings, argparse.Namespace], Run],
) -> NoReturn:
    options = parser.parse_args()
    settings = read_or_exit(kind, check_only=options.check_config)
    configure_logs(name, settings.log_level)
    sys.exit(0 if asyncio.run(_to_its_end(run(settings, options))) else 1)


def _parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every process has."""
    module = sys.modules["__main__"].__spec__
    name = module.name.removesuffix(".__main__") if module is not None else ""
    parser = argparse.ArgumentParser(prog=f"python -m {name}" if name else None, description=description)
    parser.add_argument("--check-config", action="store_true", help="check the settings and exit")
    return parser


async def _to_its_end(service: Run) -> bool:
    """What the service returns; where it fails at its start or its end, the process exits with code 1."""
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
