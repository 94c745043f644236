"""What came of each input, and what must not have come of any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

SHOWN = 400
FAILED = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "NO ANSWER"})
"""Endings that our code gives to nothing that a stranger sends."""
CORE = " (gRPC's core)"
"""Behind an ending that gRPC gave to broken framing before any code of ours was called."""


@dataclass
class Tally:
    """Counts of endings by part and target, and the inputs that broke something; at most some of these are kept.

    `secrets` are searched in everything that `shown` is given; each has a name that may be printed.
    """

    secrets: Mapping[str, str]
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def ended(self, part: str, target: str, ending: str, given: object) -> None:
        """One input ended so; an ending of `FAILED` is kept with its input."""
        self.counts[part, target, ending] += 1
        if ending in FAILED:
            self.failed(f"{part} {target}: {ending} of {given!r}"[:SHOWN])

    def failed(self, what: str) -> None:
        """Something broke."""
        self.broken.append(what)

    def shown(self, where: str, text: str) -> None:
        """Search a text that others see for secrets."""
        self.leaks += [f"{name} in {where}" for name, secret in self.secrets.items() if secret in text]

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return self.counts.total()

    def core(self, *, core: bool) -> dict[tuple[str, str, str], int]:
        """Counts of the endings that gRPC's core gave, or of all others."""
        return {key: count for key, count in self.counts.items() if key[2].endswith(CORE) == core}
