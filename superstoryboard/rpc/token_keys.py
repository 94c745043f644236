"""Public keys of a project, from its JSON Web Key Set. Each key has one algorithm, which no token can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from superstoryboard.foreign_json import ForeignJsonError, parse_json

MAX_SET_BYTES = 256 * 1024
MAX_KEYS = 100
LONGEST_KID = 200
LEAST_RSA_BITS = 2048
ALGORITHMS = {"EC": "ES256", "RSA": "RS256"}
"""The algorithm of a key by its `kty`; keys of every other `kty` are dropped, shared secrets (`oct`) above all."""
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})
_SHOWN_CHARACTERS = 64


class KeySetError(Exception):
    """What was read is no key set; the message is the end of a sentence that begins with where it was read."""


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with, by the one algorithm it is for."""

    kid: str
    algorithm: str
    key: jwt.PyJWK


@dataclass(frozen=True)
class DroppedKey:
    """A key of the set that is not used. `kid` and `kty` are foreign text made printable."""

    kid: str
    kty: str
    reason: str


@dataclass(frozen=True)
class KeySet:
    """The keys of a project by `kid`, and what was left out."""

    keys: Mapping[str, PublicKey]
    dropped: tuple[DroppedKey, ...] = ()


def parse_key_set(document: bytes) -> KeySet:
    """The usable keys of a JSON Web Key Set.

    Raises:
        KeySetError: it is no key set; one without a usable key is none of the sort.
    """
    try:
        key_set = parse_json(document, max_bytes=MAX_SET_BYTES)
    except ForeignJsonError as error:
        raise KeySetError(f"{error}") from None
    entries = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(entries, list):
        raise KeySetError("must be a JSON object with a list `keys`")
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"must have at most {MAX_KEYS} keys")
    keys: dict[str, PublicKey] = {}
    dropped: list[DroppedKey] = []
    for entry in entries:
        key = _public_key(entry, keys)
        if isinstance(key, PublicKey):
            keys[key.kid] = key
        else:
            dropped.append(key)
    return KeySet(keys, tuple(dropped))


def _public_key(entry: object, known: Mapping[str, PublicKey]) -> PublicKey | DroppedKey:
    if not isinstance(entry, dict):
        return DroppedKey("-", "-", "it is not a JSON object")
    kid, kty = entry.get("kid"), entry.get("kty")
    algorithm = ALGORITHMS.get(kty) if isinstance(kty, str) else None
    problem = _problem(entry, kid, algorithm, known)
    if problem is None and algorithm is not None and isinstance(kid, str):
        key, problem = _loaded(entry, algorithm)
        if key is not None:
            return PublicKey(kid, algorithm, key)
    return DroppedKey(shown(kid), shown(kty), problem or "it cannot be read")


def _problem(entry: dict[str, Any], kid: object, algorithm: str | None, known: Mapping[str, PublicKey]) -> str | None:
    """Why a key is not used, as far as its members tell."""
    operations = entry.get("key_ops", ["verify"])
    problems = (
        (algorithm is None, "only EC (P-256) and RSA keys are used"),
        (
            not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID,
            f"its kid is not a string of 1 to {LONGEST_KID} characters",
        ),
        (isinstance(kid, str) and kid in known, "another key before it has the same kid"),
        (not PRIVATE_MEMBERS.isdisjoint(entry), "it contains a private key, which must be replaced"),
        (entry.get("alg", algorithm) != algorithm, f"its alg is not {algorithm}"),
        (entry.get("use", "sig") != "sig", "its use is not sig"),
        (not isinstance(operations, list) or "verify" not in operations, "its key_ops do not include verify"),
        (algorithm == "ES256" and entry.get("crv") != "P-256", "its curve is not P-256"),
    )
    return next((reason for broken, reason in problems if broken), None)


def _loaded(entry: dict[str, Any], algorithm: str) -> tuple[jwt.PyJWK | None, str | None]:
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, ArithmeticError):
        return None, "its numbers are not a key"
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < LEAST_RSA_BITS:
        return None, f"it has fewer than {LEAST_RSA_BITS} bits"
    return key, None


def shown(text: object) -> str:
    """Foreign text as it may stand in a log line: short and printable."""
    if not isinstance(text, str):
        return "-"
    return ascii(text[:_SHOWN_CHARACTERS])[1:-1]
