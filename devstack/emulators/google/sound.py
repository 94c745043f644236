"""A soft arpeggio, so that a film is heard as well as seen."""

import math
from array import array
from collections.abc import Iterator

SAMPLE_RATE = 48_000
SAMPLES_PER_CHUNK = 1024

_NOTE_SAMPLES = SAMPLE_RATE // 2
_SCALE = (0, 4, 7, 12, 7, 4)
_LOUDNESS = 0.25


def chords(digest: bytes, seconds: int) -> Iterator[bytes]:
    """Yield chunks of 1024 mono float samples, ``seconds`` long in total (rounded up to a whole chunk).

    Each different note is computed once and repeated, which keeps the cost independent of the length.
    """
    root = 196.0 * 2 ** (digest[24] % 8 / 12)
    notes = {step: _note(root * 2 ** (step / 12)) for step in set(_SCALE)}
    total = math.ceil(seconds * SAMPLE_RATE / SAMPLES_PER_CHUNK)
    pending = array("f")
    beat = 0
    for _ in range(total):
        while len(pending) < SAMPLES_PER_CHUNK:
            pending.extend(notes[_SCALE[beat % len(_SCALE)]])
            beat += 1
        yield pending[:SAMPLES_PER_CHUNK].tobytes()
        del pending[:SAMPLES_PER_CHUNK]


def _note(frequency: float) -> "array[float]":
    step = math.tau * frequency / SAMPLE_RATE
    return array(
        "f",
        (
            _LOUDNESS * math.exp(-3.0 * n / _NOTE_SAMPLES) * min(1.0, n / 480) * math.sin(step * n)
            for n in range(_NOTE_SAMPLES)
        ),
    )
