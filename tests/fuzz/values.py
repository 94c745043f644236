"""Values of JSON that mean harm, and good documents with some of their values exchanged for these."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis import seed as seeded

from tests.fuzzing import TEXTS

NUMBERS = (0, -1, 2**31, 2**63, -(2**63) - 1, 1.5, 1e308, 10**39, 10**60, True, False, None)
JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**70), 2**70)
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(max_size=40)
    | strategies.sampled_from(TEXTS),
    lambda inner: (
        strategies.lists(inner, max_size=5) | strategies.dictionaries(strategies.text(max_size=12), inner, max_size=5)
    ),
    max_leaves=15,
)


def values(seed: int, count: int) -> list[Any]:
    """So many values, made by Hypothesis; the same seed makes the same ones."""
    made: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        derandomize=False,
    )
    @given(JSON)
    def take(value: Any) -> None:
        made.append(value)

    take()
    return made[:count]


def mutated(chance: random.Random, good: Any, odd: list[Any]) -> Any:
    """The document with one to three of its values exchanged, removed or doubled."""
    changed = copy.deepcopy(good)
    for _ in range(chance.randrange(1, 4)):
        places = list(_places(changed))
        if not places:
            return chance.choice(odd)
        holder, key = chance.choice(places)
        what = chance.random()
        if what < 0.15:
            del holder[key]
        elif what < 0.25:
            holder[key] = [holder[key]] * 2
        else:
            holder[key] = chance.choice((*NUMBERS, *TEXTS, chance.choice(odd), chance.choice(odd)))
    return changed


def encoded(chance: random.Random, value: Any) -> bytes:
    """The value as bytes of JSON; one in six is damaged."""
    raw = json.dumps(value).encode()
    if chance.random() < 5 / 6 or not raw:
        return raw
    at = chance.randrange(len(raw))
    damages = (
        raw[:at],
        raw[:at] + chance.randbytes(3) + raw[at:],
        b"[" * 5000,
        b"<html>" + raw,
        b"",
        b"\xff\xfe" + raw,
    )
    return chance.choice(damages)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
