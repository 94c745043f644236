"""Why Storage or the gateway before it refuses a key: their words tell what their codes do not."""

from __future__ import annotations

import re
from enum import StrEnum


class Cause(StrEnum):
    """What is wrong with a key. The value says what happened and what to do, as the end of a sentence."""

    EXPIRED = "the key has expired: create or copy a new one"
    SIGNATURE = "the key is not signed by this project: sign it with the JWT secret or signing key of that project"
    ROLE = "the role that the key names does not exist: run `storyboard migrate`, or correct the key's role"
    NO_API_KEY = (
        "the gateway also requires an API key of the project: set SUPABASE_ANON_KEY to the publishable or anon key"
    )


_WORDS = (
    (re.compile(r'"exp" claim|(jwt|token) (has )?expired', re.IGNORECASE), Cause.EXPIRED),
    (re.compile(r"signature verification failed|invalid signature|\bjws|compact jw", re.IGNORECASE), Cause.SIGNATURE),
    (re.compile(r'role "[^"]*" does not exist', re.IGNORECASE), Cause.ROLE),
    (re.compile(r"no api ?key", re.IGNORECASE), Cause.NO_API_KEY),
)


def cause_of(text: str) -> Cause | None:
    """The cause that a refusal's text names, None where it names none; the text may be JSON."""
    plain = text.replace('\\"', '"')
    return next((cause for pattern, cause in _WORDS if pattern.search(plain)), None)
