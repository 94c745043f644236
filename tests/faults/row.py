"""What a row of the matrix is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.world import RECOVERIES, VIDEOS_AT_ONCE, World


def nothing(world: World) -> None:
    """What happens where nothing happens."""
    del world


@dataclass(frozen=True)
class Row:
    """A fault: what is laid out before the jobs are submitted, what happens while they run, and what may come of it.

    `between`: what happens between the kill at a `step` and the new start. `evidence`: how much the fault has met, from
    outside; None for a row without fault. `dead`: codes or classes of dead letters that may be left for a person, at
    most `most_dead`. `spends`: whether attempts may be spent beyond the first. `discards`: how many good answers of
    image calls may be thrown away, with the process that held them. `forsakes`: how many paid videos may become dead
    letters although their names are known. `finds`: whether every name that was lost must be found. `leases`: how many
    leases the recovery may take one after the other, `extra_seconds` what else. `factor` multiplies the jobs.
    `video_model`: model of the videos; empty means that of the pipeline, also Veo, whose API lists operations.
    """

    name: str
    during: Callable[[World], None]
    before: Callable[[World], None] = nothing
    service: str = ""
    step: str = ""
    between: Callable[[World], None] = nothing
    evidence: Callable[[World], int] | None = lambda world: world.struck
    dead: frozenset[str] = frozenset()
    most_dead: int = VIDEOS_AT_ONCE
    spends: bool = True
    discards: int = 0
    forsakes: int = 0
    finds: bool = False
    leases: int = RECOVERIES
    extra_seconds: float = 0.0
    factor: float = 1
    video_model: str = ""
