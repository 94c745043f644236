"""Runs a service with one line of its code broken: `python -m tests.faults.broken NAME services.video_worker`."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from superstoryboard.db import errors as database_errors
from superstoryboard.jobs import store
from superstoryboard.providers.google import gemini_images, submit_errors
from superstoryboard.storage import objects
from superstoryboard.worker import leases
from superstoryboard.worker.attempt import handoff, staging
from tests.emulators.storage_fixture import STAGING_BUCKET


def replace(owner: object, name: str, instead: object) -> None:
    """Put something else in the place of what has this name.

    Raises:
        AttributeError: there is nothing of this name, so that nothing would be broken.
    """
    getattr(owner, name)
    setattr(owner, name, instead)


def pay_again() -> None:
    """A submit that was broken off counts as never sent."""
    replace(submit_errors, "sent_nothing", lambda error: True)  # noqa: ARG005 - the signature of what it replaces


def give_up() -> None:
    """A database that is away is an error like any other."""
    replace(database_errors, "unavailable", lambda *_, **__: None)


def show_everyone() -> None:
    """Whoever asks for a job gets it."""
    get = store.JobStore.get

    async def any_owner(self: store.JobStore, job_ids: list[UUID], owner: str | None) -> list[dict[str, Any]]:
        del owner
        return await get(self, job_ids, None)

    replace(store.JobStore, "get", any_owner)


def skip_final_upload() -> None:
    """The asset_writer says that it has written what it has not."""
    upload = objects.ObjectStore.upload

    async def staging_only(
        self: objects.ObjectStore, bucket: str, key: str, source: Path | bytes, media_type: str, **options: Any
    ) -> None:
        if bucket == STAGING_BUCKET:
            await upload(self, bucket, key, source, media_type, **options)

    replace(objects.ObjectStore, "upload", staging_only)


def rescue_nothing() -> None:
    """Bytes that an earlier worker had brought to staging are not looked for."""

    async def nothing(self: handoff.HandOff, upload: Any, file: Path) -> None:
        del self, upload, file

    replace(handoff.HandOff, "_fetch", nothing)


def trust_staging() -> None:
    """Pictures are asked for before staging has taken anything."""

    async def at_once(self: staging.Staging) -> None:
        del self

    replace(staging.Staging, "wait_proven", at_once)


def throw_away_once() -> None:
    """The first good answer of Google counts as one that never came."""
    generate = gemini_images.GeminiImages.generate
    thrown: list[int] = []

    async def forgetful(self: gemini_images.GeminiImages, call: Any, *, timeout_seconds: float) -> bytes:
        data = await generate(self, call, timeout_seconds=timeout_seconds)
        if not thrown:
            thrown.append(len(data))
            raise submit_errors.submit_interrupted(TimeoutError())
        return data

    replace(gemini_images.GeminiImages, "generate", forgetful)


def stop_heartbeat() -> None:
    """No lease is extended."""

    async def rest(self: leases.LeaseKeeper) -> None:
        del self

    replace(leases.LeaseKeeper, "beat", rest)


BREAKS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        pay_again,
        give_up,
        show_everyone,
        skip_final_upload,
        rescue_nothing,
        trust_staging,
        throw_away_once,
        stop_heartbeat,
    )
}


def main() -> None:
    """Break, then run the module as if it had been started itself."""
    name, module = sys.argv[1:3]
    BREAKS[name]()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
