"""What looks like a secret: the detectors of detect-secrets that know a form, and those for our own kinds.

Those that guess by entropy or by the name of a variable are left out: this repository is full of made-up keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import BasePlugin, RegexBasedDetector

GUESSING = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector", "KeywordDetector"}


class GoogleKeyDetector(RegexBasedDetector):
    """Keys of Google's APIs, both forms."""

    secret_type = "Google API key"  # noqa: S105 - what it is called
    denylist = (re.compile(r"\b(AIza[0-9A-Za-z_-]{35})(?![0-9A-Za-z_-])"), re.compile(r"\b(AQ\.Ab[0-9A-Za-z_-]{30,})"))


class ServiceTokenDetector(RegexBasedDetector):
    """Our own service tokens."""

    secret_type = "Service token"  # noqa: S105 - what it is called
    denylist = (re.compile(r"\b(sst_[0-9a-f]{64})\b"),)


class SupabaseKeyDetector(RegexBasedDetector):
    """Secret keys of a Supabase project, and access tokens of accounts."""

    secret_type = "Supabase key"  # noqa: S105 - what it is called
    denylist = (re.compile(r"\b(sb_secret_[0-9A-Za-z_-]{20,})"), re.compile(r"\b(sbp_[0-9a-f]{40})\b"))


@dataclass(frozen=True, order=True)
class Finding:
    """Something that looks like a secret. What it is, is not kept: only its SHA-1, as detect-secrets has it."""

    place: str
    line: int
    kind: str
    sha1: str


class Detectors:
    """All detectors, ready to read texts."""

    def __init__(self) -> None:
        known: list[type[BasePlugin]] = list(get_mapping_from_secret_type_to_class().values())
        own = (GoogleKeyDetector, ServiceTokenDetector, SupabaseKeyDetector)
        self._plugins: list[BasePlugin] = [each() for each in known if each.__name__ not in GUESSING]
        self._plugins += [each() for each in own if each.secret_type not in {one.secret_type for one in self._plugins}]

    def read(self, place: str, text: str) -> Iterator[Finding]:
        """What looks like a secret in a text."""
        for number, line in enumerate(text.splitlines(), 1):
            for plugin in self._plugins:
                for found in plugin.analyze_line(filename=place, line=line, line_number=number):
                    yield Finding(place, number, found.type, found.secret_hash)
