"""Claims that callers may bear, and who is meant by them."""

from __future__ import annotations

import time
from typing import Any

import grpc
import jwt
import pytest

from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.claims import MOST_IDENTITIES, ClaimRules
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from tests.unit.token_steps import (
    ISSUER,
    RULES,
    SECRET,
    Set,
    admit,
    authenticator,
    by_hmac,
    es256,
    hs256,
    reason_of,
    rs256,
    signed,
)

NOW = time.time()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 31}, "TOKEN_EXPIRED"),
        ({"exp": 0}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"exp": "soon"}, "TOKEN_INVALID"),
        ({"exp": {"a": 1}}, "TOKEN_INVALID"),
        ({"nbf": NOW + 3600}, "TOKEN_NOT_YET_VALID"),
        ({"iat": NOW + 3600}, "TOKEN_NOT_YET_VALID"),
        ({"iat": "now"}, "TOKEN_INVALID"),
        ({"aud": "anon"}, "TOKEN_AUDIENCE_REFUSED"),
        ({"aud": ["other", "another"]}, "TOKEN_AUDIENCE_REFUSED"),
        ({"aud": None}, "TOKEN_INVALID"),
        ({"iss": "https://other.supabase.co/auth/v1"}, "TOKEN_ISSUER_REFUSED"),
        ({"iss": ISSUER + "/"}, "TOKEN_ISSUER_REFUSED"),
        ({"iss": [ISSUER]}, "TOKEN_ISSUER_REFUSED"),
        ({"iss": ""}, "TOKEN_ISSUER_REFUSED"),
        ({"role": "anon"}, "TOKEN_ROLE_REFUSED"),
        ({"role": None}, "TOKEN_ROLE_REFUSED"),
        ({"role": ["service_role"]}, "TOKEN_ROLE_REFUSED"),
        ({"role": "postgres"}, "TOKEN_ROLE_REFUSED"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"sub": 7}, "TOKEN_INVALID"),
        ({"sub": "x" * 129}, "TOKEN_INVALID"),
        ({"sub": "sql"}, "TOKEN_INVALID"),
        ({"is_anonymous": True}, "ANONYMOUS_REFUSED"),
        ({"is_anonymous": "false"}, "ANONYMOUS_REFUSED"),
    ],
    ids=lambda value: str(value).replace(str(NOW - 31), "past").replace(str(NOW + 3600), "future"),
)
@pytest.mark.parametrize("make", [es256, rs256, hs256])
async def test_claims_that_break_a_rule_are_refused(make: Any, changes: dict[str, object], reason: str) -> None:
    assert reason_of(await authenticator(), make(**changes)) == reason


async def test_claims_nested_deeply_or_that_are_none_are_refused() -> None:
    who = await authenticator()
    sign = by_hmac(SECRET.encode())
    for payload in (b"[" * 3000 + b"]" * 3000, b'{"exp":' * 2000 + b"1" + b"}" * 2000, b"[]", b"null", b'"x"', b"\xff"):
        assert reason_of(who, signed({"alg": "HS256"}, sign, payload)) == "TOKEN_INVALID"


async def test_tokens_of_the_secret_may_lack_an_issuer_unless_issuers_are_set() -> None:
    """Backends sign their own with it; whoever holds the secret could write any issuer."""
    assert admit(await authenticator(), hs256(iss=None)).subject == "alice"
    assert reason_of(await authenticator(), es256(iss=None)) == "TOKEN_ISSUER_REFUSED"
    strict = await authenticator(rules=ClaimRules(issuers=frozenset({ISSUER}), issuer_required=True))
    assert reason_of(strict, hs256(iss=None)) == "TOKEN_ISSUER_REFUSED"


@pytest.mark.parametrize("secret", [SECRET, None, "another-secret-that-is-also-long-enough"])
@pytest.mark.parametrize("role", ["anon", "service_role"])
async def test_api_keys_are_refused_with_a_hint(role: str, secret: str | None) -> None:
    who = await authenticator(secret)
    legacy = {"iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": role, "exp": int(NOW) + 10**8}
    for made in (legacy, legacy | {"iss": "supabase-demo"}, legacy | {"aud": "authenticated", "sub": "alice"}):
        token = jwt.encode(made, SECRET, algorithm="HS256")
        assert reason_of(who, token) == "TOKEN_API_KEY"
    assert reason_of(who, f"sb_{'secret' if role != 'anon' else 'publishable'}_abc_def") == "TOKEN_API_KEY"


async def test_secrets_and_keys_are_taken_only_where_they_are_configured() -> None:
    assert reason_of(await authenticator(None), hs256()) == "TOKEN_INVALID"
    assert reason_of(await authenticator(keys=False), es256()) == "TOKEN_INVALID"


async def test_without_any_set_the_secret_still_works() -> None:
    keys = TokenKeys(Set())
    who = Authenticator([JwtVerifier(RULES, SECRET, keys)], keys)
    assert admit(who, hs256()).subject == "alice"
    with pytest.raises(ApiError) as caught:
        admit(who, es256())
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_UNAVAILABLE")
    await who.prepare()
    assert admit(who, es256()).subject == "alice"


async def test_anonymous_users_are_marked_where_they_are_allowed() -> None:
    who = await authenticator(rules=ClaimRules(anonymous_allowed=True))
    assert admit(who, es256(is_anonymous=True)).anonymous
    assert not admit(who, es256(is_anonymous=False)).anonymous


OWNERS = ClaimRules(owner_claims=(("sub",), ("app_metadata", "user_id"), ("app_metadata", "teams")))


@pytest.mark.parametrize(
    ("metadata", "identities"),
    [
        ({"user_id": "user_7"}, ("alice", "user_7")),
        ({"user_id": "alice"}, ("alice",)),
        ({"user_id": None}, ("alice",)),
        ({"teams": ["red", "blue"]}, ("alice", "red", "blue")),
        ("text", ("alice",)),
        (None, ("alice",)),
    ],
    ids=str,
)
async def test_a_caller_is_every_value_of_the_owner_claims(metadata: object, identities: tuple[str, ...]) -> None:
    principal = admit(await authenticator(rules=OWNERS), es256(app_metadata=metadata, user_metadata={"user_id": "bob"}))
    assert principal.identities == identities


async def test_owner_claims_of_one_token_are_few() -> None:
    teams = [f"team-{number}" for number in range(MOST_IDENTITIES)]
    who = await authenticator(rules=OWNERS)
    assert len(admit(who, es256(app_metadata={"teams": teams[1:]})).identities) == MOST_IDENTITIES
    assert reason_of(who, es256(app_metadata={"teams": teams})) == "TOKEN_INVALID"


async def test_a_backend_needs_no_name() -> None:
    assert admit(await authenticator(), hs256(role="service_role", sub=None)).subject == "service_role"


@pytest.mark.parametrize("value", [7, {"a": "b"}, "sql", "service_role", "", "a\nb", "x" * 129, [["a"]], [7]], ids=str)
async def test_owner_claims_that_are_no_names_are_refused(value: object) -> None:
    token = es256(app_metadata={"user_id": value})
    assert reason_of(await authenticator(rules=OWNERS), token) == "TOKEN_INVALID"
