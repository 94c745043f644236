"""Runs a service with one line of its code broken: `python -m tests.faults.broken NAME services.video_worker`."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from superstoryboard.jobs import database_errors, store
from superstoryboard.providers import errors


def pay_again() -> None:
    """A submit that was broken off counts as never sent."""
    errors.sent_nothing = lambda error: True  # noqa: ARG005 - the signature of what it replaces


def give_up() -> None:
    """A database that is away is an error like any other."""
    database_errors.unavailable = lambda *_, **__: None


def show_everyone() -> None:
    """Whoever asks for a job gets it."""
    get = store.JobStore.get

    async def any_owner(self: store.JobStore, job_ids: list[UUID], owner: str | None) -> list[dict[str, Any]]:
        del owner
        return await get(self, job_ids, None)

    store.JobStore.get = any_owner  # type: ignore[method-assign]  # broken on purpose


BREAKS: dict[str, Callable[[], None]] = {
    "pay_again": pay_again,
    "give_up": give_up,
    "show_everyone": show_everyone,
}


def main() -> None:
    """Break, then run the module as if it had been started itself."""
    name, module = sys.argv[1:3]
    BREAKS[name]()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
