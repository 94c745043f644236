"""Which keys of a set are used, and when sets are read again: by a clock of the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from devstack.stack.tokens import SigningKey
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.key_schedule import KeySchedule, KeyTimes
from superstoryboard.rpc.token_keys import MAX_SET_BYTES, KeySetError, parse_key_set

EC_KEY = SigningKey("ec").published
HOUR = 3600.0


def rsa_jwk(bits: int) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, bits)
    return {"kid": "rsa", **jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)}


def other_curve() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return EC_KEY | {"alg": "ES256"} | jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)


def document(*keys: object) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


RSA_KEY = rsa_jwk(2048)


def test_the_algorithm_of_a_key_comes_from_its_type() -> None:
    key_set = parse_key_set(document(EC_KEY, RSA_KEY))
    assert {kid: key.algorithm for kid, key in key_set.keys.items()} == {"ec": "ES256", "rsa": "RS256"}
    assert key_set.dropped == ()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"}, "only EC"),
        ({"kty": "EC", "kid": "none"}, "curve"),
        (rsa_jwk(1024), "fewer than 2048 bits"),
        (other_curve(), "curve"),
        (EC_KEY | {"crv": "P-384"}, "curve"),
        (EC_KEY | {"x": "AAAA"}, "not a key"),
        (EC_KEY | {"x": EC_KEY["y"], "y": EC_KEY["x"]}, "not a key"),
        (EC_KEY | {"x": 7}, "not a key"),
        (EC_KEY | {"alg": "HS256"}, "alg is not ES256"),
        (EC_KEY | {"alg": "none"}, "alg is not ES256"),
        (EC_KEY | {"alg": None}, "alg is not ES256"),
        (RSA_KEY | {"alg": "PS256"}, "alg is not RS256"),
        (RSA_KEY | {"e": "AQ"}, "not a key"),
        (EC_KEY | {"use": "enc"}, "use"),
        (EC_KEY | {"key_ops": ["sign"]}, "key_ops"),
        (EC_KEY | {"key_ops": "verify"}, "key_ops"),
        (EC_KEY | {"d": "AAAA"}, "private key"),
        (EC_KEY | {"kid": None}, "kid"),
        (EC_KEY | {"kid": ["a"]}, "kid"),
        (EC_KEY | {"kid": ""}, "kid"),
        (EC_KEY | {"kid": "k" * 201}, "kid"),
        ({"kty": ["EC"], "kid": "list"}, "only EC"),
        ({}, "only EC"),
        (7, "not a JSON object"),
        (["key"], "not a JSON object"),
    ],
    ids=lambda value: str(value if not isinstance(value, dict) else {k: v for k, v in value.items() if k not in "xyn"})[
        :50
    ],
)
def test_other_keys_are_dropped_and_spoil_nothing(key: object, words: str) -> None:
    good = EC_KEY | {"kid": "good"}
    key_set = parse_key_set(document(key, good))
    assert set(key_set.keys) == {"good"}
    [dropped] = key_set.dropped
    assert words in dropped.reason


def test_ed25519_keys_are_dropped() -> None:
    key = jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    assert parse_key_set(document(key | {"kid": "okp"})).keys == {}


def test_of_two_keys_with_one_kid_the_first_counts() -> None:
    key_set = parse_key_set(document(EC_KEY, SigningKey("ec").published))
    assert len(key_set.keys) == len(key_set.dropped) == 1


def test_foreign_names_are_made_printable() -> None:
    [dropped] = parse_key_set(document({"kty": "oct\n{", "kid": "a\nb\x1b[31m" + "x" * 900})).dropped
    assert dropped.kid.isprintable()
    assert dropped.kty.isprintable()
    assert len(dropped.kid) < 100


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>sign in</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"keys": [], "keys": []}',
        b'{"keys": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        document(*[EC_KEY] * 101),
        b" " * (MAX_SET_BYTES + 1),
    ],
    ids=lambda body: str(body[:20]),
)
def test_what_is_no_set_is_refused(body: bytes) -> None:
    with pytest.raises(KeySetError):
        parse_key_set(body)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A source that a test fills, or takes away."""

    def __init__(self, *keys: object) -> None:
        self.keys: tuple[object, ...] | None = keys
        self.reads = 0
        self.read_again = asyncio.Event()

    async def read(self) -> bytes:
        self.reads += 1
        if self.reads > 1:
            self.read_again.set()
        if self.keys is None:
            raise KeySetError("is away")
        return document(*self.keys)


def reason_of(keys: TokenKeys, kid: str) -> str:
    with pytest.raises(ApiError) as caught:
        keys.find(kid)
    return caught.value.reason


async def test_the_last_good_set_is_used_for_a_day() -> None:
    clock, place = Clock(), Place(EC_KEY)
    keys = TokenKeys(place, clock=clock)
    assert reason_of(keys, "ec") == "TOKEN_KEYS_UNAVAILABLE"
    await keys.refresh()
    place.keys = None
    for hours in (1, 10, 24):
        clock.now = 1000 + hours * HOUR
        await keys.refresh()
        assert keys.find("ec").algorithm == "ES256"
    clock.now += 1
    assert reason_of(keys, "ec") == "TOKEN_KEYS_UNAVAILABLE"
    place.keys = (EC_KEY,)
    await keys.refresh()
    assert keys.find("ec").kid == "ec"


async def test_what_auth_no_longer_publishes_is_refused_at_the_next_read() -> None:
    place = Place(EC_KEY)
    keys = TokenKeys(place)
    await keys.refresh()
    place.keys = ({"kty": "oct", "kid": "ec", "k": "AAAA"},)
    await keys.refresh()
    assert reason_of(keys, "ec") == "TOKEN_KEY_UNKNOWN"


async def test_looking_for_a_key_never_reads() -> None:
    place = Place(EC_KEY)
    keys = TokenKeys(place)
    await keys.refresh()
    for kid in ("ec", *("other", "../../etc/passwd", "' or 1=1 --", "k" * 200) * 1000):
        assert kid == "ec" or reason_of(keys, kid) == "TOKEN_KEY_UNKNOWN"
        assert place.reads == 1


def schedule(clock: Clock, share: float = 0.0) -> KeySchedule:
    made = KeySchedule(KeyTimes(), clock, lambda: share)
    assert made.wait_seconds() <= 0
    return made


def test_sets_are_read_every_five_minutes_or_up_to_a_minute_sooner() -> None:
    clock = Clock()
    for share, seconds in ((0.0, 300), (0.5, 270), (1.0, 240)):
        made = schedule(clock, share)
        made.ended(succeeded=True, has_keys=True)
        assert made.wait_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("succeeded", [True, False])
def test_unknown_keys_bring_one_read_in_30_seconds(succeeded: bool) -> None:
    clock = Clock()
    made = schedule(clock)
    made.ended(succeeded=succeeded, has_keys=True)
    reads = 0
    for _ in range(1200):
        clock.now += 0.25
        made.ask()
        if made.wait_seconds() <= 0:
            reads += 1
            made.ended(succeeded=succeeded, has_keys=True)
    assert reads == 10


def test_an_unknown_key_is_asked_for_at_once_where_nobody_asked_lately() -> None:
    clock = Clock()
    made = schedule(clock)
    made.ended(succeeded=True, has_keys=True)
    clock.now += 31
    assert made.wait_seconds() > 0
    made.ask()
    assert made.wait_seconds() <= 0


def test_a_slow_read_does_not_delay_the_next_one() -> None:
    clock = Clock()
    made = schedule(clock)
    clock.now += 3
    made.ended(succeeded=True, has_keys=True, took=3)
    made.ask()
    assert made.wait_seconds() == 27


def test_without_any_set_failed_reads_are_repeated_soon_then_seldom() -> None:
    clock = Clock()
    made = schedule(clock)
    waits = []
    for _ in range(8):
        made.ended(succeeded=False, has_keys=False)
        made.ask()
        waits.append(round(made.wait_seconds()))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_whoever_waits_is_woken_by_an_unknown_key() -> None:
    times = KeyTimes(refresh=10_000, gap=0)
    place = Place(EC_KEY)
    keys = TokenKeys(place, times=times)
    await keys.refresh()
    running = asyncio.create_task(keys.run())
    place.keys = (EC_KEY, EC_KEY | {"kid": "new"})
    assert reason_of(keys, "new") == "TOKEN_KEY_UNKNOWN"
    async with asyncio.timeout(20):
        await place.read_again.wait()
    running.cancel()
    await asyncio.wait([running])
    assert place.reads == 2
