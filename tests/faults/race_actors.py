"""Who races: clients, operators, workers, asset_writers and outsiders in one, on the real stores."""

from __future__ import annotations

from tests.faults.race_clients import Clients, Operators
from tests.faults.race_outsiders import Outsiders
from tests.faults.race_table import Pace
from tests.faults.race_workers import Workers
from tests.faults.race_writers import AssetWriters

WEIGHTS = {
    "accept": 6,
    "send": 1,
    "claim": 12,
    "work_on": 60,
    "extend": 6,
    "report": 2,
    "release": 2,
    "time_out": 6,
    "late_name": 1.5,
    "die": 3,
    "lease": 6,
    "finish": 4,
    "extend_artifact": 2,
    "give_back": 3,
    "bury_artifact": 4,
    "clean": 0.5,
    "cancel": 2,
    "start_again": 2,
    "start_again_paying": 2,
    "redrive": 4,
    "redrive_paying": 4,
    "redrive_edited": 2,
    "discard": 2,
    "pause": 0.5,
    "resume": 2,
    "close_gate": 0.3,
    "sweep": 2,
    "remove": 1,
    "preview": 1,
    "move_visibility": 1,
    "hold_locks": 1,
    "expire": 2,
    "age": 1,
}
"""How often an actor takes a step; a step is the method of this name."""


class Actor(Clients, Operators, Workers, AssetWriters, Outsiders):
    """One of those who race."""

    async def race(self, pace: Pace) -> None:
        """Take one step after the other, at random."""
        while not pace.over():
            name = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            await self.take(name, getattr(self, name)())
