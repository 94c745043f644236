"""How long the other side asks to wait."""

from __future__ import annotations

import math
import re

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_LONGEST_WAIT_SECONDS = 24 * 3600.0


def parse_seconds(text: object) -> float | None:
    """A protobuf duration such as "38.52s", or bare seconds of a Retry-After header; None for anything else."""
    if not isinstance(text, str):
        return None
    match = _DURATION.fullmatch(text.strip().removesuffix("s") + "s")
    return min(math.ceil(float(match[1]) * 1000) / 1000, _LONGEST_WAIT_SECONDS) if match else None
