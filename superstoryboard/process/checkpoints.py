"""Named steps at which a process stops when told, so that faults can be set at exact places. Off unless asked for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from superstoryboard.telemetry.logs import get_logger

VARIABLE = "SUPERSTORYBOARD_STOP_AT"
"""`STEP:FILE`: at the step the process writes its pid into FILE and waits to be killed or for FILE to go away."""
LOOK_SECONDS = 0.02

log = get_logger("checkpoints")


async def reached(step: str) -> None:
    """Wait here where the environment names this step and its file does not exist yet; else do nothing."""
    chosen_step, _, file = os.environ.get(VARIABLE, "").partition(":")
    if chosen_step != step:
        return
    path = Path(file)
    if not await asyncio.to_thread(_mark, path):
        return
    log.warning("Stopped at a checkpoint", step=step)
    while await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - another process removes the file
        await asyncio.sleep(LOOK_SECONDS)


def _mark(path: Path) -> bool:
    """True for the first that comes here; a later start of the process passes."""
    done = path.with_suffix(".done")
    if done.exists():
        return False
    done.touch()
    temporary = path.with_suffix(".new")
    temporary.write_text(str(os.getpid()))
    temporary.rename(path)
    return True
