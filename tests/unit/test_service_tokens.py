"""Service tokens in one process: which are taken, whom they make the caller, and how long the last copy counts."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from superstoryboard.domain.service_tokens import (
    NAME,
    PREFIX,
    fingerprint,
    new_token,
)
from superstoryboard.rpc import token_copy
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.service_tokens import ServiceTokenVerifier
from superstoryboard.rpc.token_copy import LIFETIME_SECONDS
from superstoryboard.rpc.token_ends import until_token_ends
from superstoryboard.rpc.tokens import Principal, Role, Sees
from tests.unit.service_token_steps import (
    GENERATION,
    PAST,
    SECRETS,
    SOON,
    TOKENS,
    Clock,
    Memory,
    admit,
    checked,
    copy_of,
    kept,
    refused,
)
from tests.unit.token_steps import es256, hs256
from tests.waiting import wait_for


def test_a_token_is_random_and_known_by_its_prefix() -> None:
    first, second = new_token(), new_token()
    assert first != second
    assert first.startswith("sst_")
    assert len(bytes.fromhex(first.removeprefix("sst_"))) * 8 == 256
    assert fingerprint(first) == hashlib.sha256(first.encode()).hexdigest()


async def test_whom_a_token_makes_the_caller() -> None:
    who = await checked()
    backend = admit(who, SECRETS["backend"])
    assert (backend.subject, backend.actor, backend.done_by, backend.visible_owner) == ("backend", "", "backend", None)
    assert (backend.role, backend.expires_at) == (Role.SERVICE_ROLE, SOON.timestamp())
    assert SECRETS["backend"] not in repr(backend)
    assert backend.sha256 not in repr(backend)


async def test_on_behalf_of_is_the_view_of_that_owner() -> None:
    who = await checked()
    caller = admit(who, SECRETS["backend"], "alice")
    assert (caller.subject, caller.actor, caller.done_by) == ("alice", "backend", "backend")
    assert (caller.visible_owner, caller.sees, caller.identities) == ("alice", Sees.OWN, ("alice",))
    by_jwt = admit(who, hs256(role="service_role", sub="job"), "alice")
    assert (by_jwt.visible_owner, by_jwt.actor) == ("alice", "job")


async def test_a_token_with_an_owner_acts_for_that_owner_alone() -> None:
    who = await checked()
    for caller in (admit(who, SECRETS["shop"]), admit(who, SECRETS["shop"], "alice")):
        assert (caller.visible_owner, caller.actor) == ("alice", "shop")
    with refused("ON_BEHALF_OF_REFUSED"):
        admit(who, SECRETS["shop"], "bob")
    with refused("ROLE_REQUIRED"):
        admit(who, SECRETS["shop"], method="/superstoryboard.v1.QueueService/Sweep")


REFUSALS = {
    "on behalf, by a user": (hs256(), ["bob"], "ON_BEHALF_OF_REFUSED"),
    "on behalf of oneself, by a user": (hs256(), ["alice"], "ON_BEHALF_OF_REFUSED"),
    "on behalf, by a worker": (SECRETS["outside"], ["bob"], "ON_BEHALF_OF_REFUSED"),
    "twice": (SECRETS["backend"], ["alice", "alice"], "ON_BEHALF_OF_INVALID"),
    "empty": (SECRETS["backend"], [""], "ON_BEHALF_OF_INVALID"),
    "blank": (SECRETS["backend"], [" "], "ON_BEHALF_OF_INVALID"),
    "reserved sql": (SECRETS["backend"], ["sql"], "ON_BEHALF_OF_INVALID"),
    "reserved service_role": (SECRETS["backend"], ["service_role"], "ON_BEHALF_OF_INVALID"),
    "reserved local": (SECRETS["backend"], ["local"], "ON_BEHALF_OF_INVALID"),
    "huge": (SECRETS["backend"], ["a" * 129], "ON_BEHALF_OF_INVALID"),
    "not printable": (SECRETS["backend"], ["a\tb"], "ON_BEHALF_OF_INVALID"),
    "bound, empty": (SECRETS["shop"], [""], "ON_BEHALF_OF_INVALID"),
    "revoked": (SECRETS["gone"], [], "TOKEN_REVOKED"),
    "expired": (SECRETS["old"], [], "TOKEN_EXPIRED"),
    "unknown": (PREFIX + "0" * 64, [], "TOKEN_UNKNOWN"),
    "its hash": (fingerprint(SECRETS["backend"]), [], "TOKEN_INVALID"),
    "prefixed hash": (PREFIX + fingerprint(SECRETS["backend"]), [], "TOKEN_UNKNOWN"),
    "cut": (SECRETS["backend"][:-1], [], "TOKEN_INVALID"),
    "longer": (SECRETS["backend"] + "0", [], "TOKEN_INVALID"),
    "upper case": ("sst_" + "ABCDEF" + SECRETS["backend"][10:], [], "TOKEN_INVALID"),
    "new line": (SECRETS["backend"] + "\n.", [], "TOKEN_INVALID"),
    "other prefix": ("SST_" + SECRETS["backend"][4:], [], "TOKEN_INVALID"),
    "no prefix": (SECRETS["backend"][4:], [], "TOKEN_INVALID"),
    "as a JWT": (f"{PREFIX}{es256()}", [], "TOKEN_INVALID"),
    "prefix alone": (PREFIX, [], "TOKEN_INVALID"),
    "huge token": (PREFIX + "0" * 15_000, [], "TOKEN_INVALID"),
    "a JWT of role worker": (hs256(role="worker"), [], "TOKEN_ROLE_REFUSED"),
    "a JWT of role anon": (hs256(role="anon"), [], "TOKEN_ROLE_REFUSED"),
    "two tokens": (f"{SECRETS['backend']} {SECRETS['backend']}", [], "TOKEN_INVALID"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals(name: str) -> None:
    token, owners, reason = REFUSALS[name]
    with refused(reason):
        admit(await checked(), token, *owners)


@pytest.mark.parametrize("second", ["same", "user"])
async def test_two_headers_are_refused(second: str) -> None:
    other = SECRETS["backend"] if second == "same" else hs256()
    metadata = tuple(("authorization", f"Bearer {token}") for token in (SECRETS["backend"], other))
    with refused("TOKEN_AMBIGUOUS"):
        (await checked()).admit(GENERATION, metadata)


async def test_both_spellings_of_on_behalf_of_count() -> None:
    who = await checked()
    bearer = ("authorization", f"Bearer {SECRETS['backend']}")
    assert who.admit(GENERATION, (bearer, ("on-behalf-of", "alice"))).visible_owner == "alice"
    with refused("ON_BEHALF_OF_INVALID"):
        who.admit(GENERATION, (bearer, ("on-behalf-of", "alice"), ("on_behalf_of", "alice")))


async def test_the_last_copy_counts_for_an_hour_while_the_database_is_away() -> None:
    table, clock = Memory(*TOKENS), Clock()
    copy = copy_of(table, clock)
    who = Authenticator([ServiceTokenVerifier(copy)], None, copy)
    await who.prepare()
    table.away = True
    clock.now += LIFETIME_SECONDS
    await copy.refresh()
    assert admit(who, SECRETS["backend"]).subject == "backend"
    with refused("TOKEN_REVOKED"):
        admit(who, SECRETS["gone"])
    clock.now += 1
    with refused("TOKEN_KEYS_UNAVAILABLE"):
        admit(who, SECRETS["backend"])
    table.away = False
    await copy.refresh()
    assert admit(who, SECRETS["backend"]).subject == "backend"


async def test_without_any_copy_only_service_tokens_wait() -> None:
    table = Memory()
    table.away = True
    who = await checked(table)
    with refused("TOKEN_KEYS_UNAVAILABLE"):
        admit(who, SECRETS["backend"])
    assert admit(who, hs256()).subject == "alice"


async def test_no_call_reads_the_table() -> None:
    table = Memory(*TOKENS)
    who = await checked(table)
    for _ in range(100):
        admit(who, SECRETS["backend"])
        with refused("TOKEN_UNKNOWN"):
            admit(who, PREFIX + "0" * 64)
    assert table.reads == 1


def test_a_revocation_is_known_within_five_seconds() -> None:
    assert token_copy.LOOK_SECONDS + token_copy.READ_SECONDS < 5


async def test_uses_are_noted_together_and_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_copy, "LOOK_SECONDS", 0.001)
    table, clock = Memory(*TOKENS), Clock()
    copy = copy_of(table, clock)
    who = Authenticator([ServiceTokenVerifier(copy)], None, copy)
    await who.prepare()
    for name in ("backend", "shop", "backend"):
        admit(who, SECRETS[name])
    running = asyncio.create_task(copy.run())
    await asyncio.to_thread(wait_for, lambda: table.noted)
    admit(who, SECRETS["backend"])
    reads = table.reads
    await asyncio.to_thread(wait_for, lambda: table.reads > reads + 3)
    assert table.noted == [{fingerprint(SECRETS["backend"]), fingerprint(SECRETS["shop"])}]
    clock.now += token_copy.NOTE_SECONDS
    await asyncio.to_thread(wait_for, lambda: len(table.noted) == 2)
    assert table.noted[1] == {fingerprint(SECRETS["backend"])}
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("change", ["revoked", "deleted", "before"])
async def test_streams_end_with_their_token(change: str) -> None:
    table = Memory(*TOKENS)
    copy = copy_of(table)
    who = Authenticator([ServiceTokenVerifier(copy)], None, copy)
    await who.prepare()
    caller, other = admit(who, SECRETS["backend"]), admit(who, SECRETS["shop"])
    ended, opened = asyncio.Event(), asyncio.Event()

    async def stream(principal: Principal) -> None:
        async with until_token_ends(principal, copy.ends):
            opened.set()
            await ended.wait()

    table.tokens = [token for token in TOKENS if token.name != "backend"]
    if change != "deleted":
        table.tokens.append(kept("backend", revoked_at=PAST))
    if change == "before":  # between the admission of the call and its stream
        await copy.refresh()
    stays, ends, second = (asyncio.create_task(stream(each)) for each in (other, caller, caller))
    await opened.wait()
    if change != "before":
        await copy.refresh()
    for each in (ends, second):
        with refused("TOKEN_REVOKED"):
            await asyncio.wait_for(each, 60)
    ended.set()
    await stays


async def test_a_stream_ends_at_the_time_of_its_token() -> None:
    copy = copy_of(Memory(*TOKENS))
    caller = Principal("backend", Role.SERVICE_ROLE, time.time() + 0.01, sha256=fingerprint(SECRETS["old"]))
    await copy.prepare()
    with refused("TOKEN_EXPIRED"):
        async with until_token_ends(caller, copy.ends):
            await asyncio.Event().wait()


async def test_a_time_limit_of_the_call_itself_is_not_the_tokens() -> None:
    copy = copy_of(Memory(*TOKENS))
    caller = Principal("backend", Role.SERVICE_ROLE, sha256=fingerprint(SECRETS["backend"]))
    await copy.prepare()
    with pytest.raises(TimeoutError):
        async with until_token_ends(caller, copy.ends):
            raise TimeoutError


async def test_uses_that_cannot_be_noted_are_noted_later() -> None:
    table, clock = Memory(*TOKENS), Clock()
    copy = copy_of(table, clock)
    who = Authenticator([ServiceTokenVerifier(copy)], None, copy)
    await who.prepare()
    admit(who, SECRETS["backend"])
    for table.away in (True, False):
        await copy._note()
    assert table.noted == [{fingerprint(SECRETS["backend"])}]


def test_no_name_is_a_uuid() -> None:
    assert not NAME.fullmatch("abcdef01-2345-6789-abcd-ef0123456789")
    assert not NAME.fullmatch("abcdef0123456789abcdef0123456789")
