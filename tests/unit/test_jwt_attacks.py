"""Tokens that must not open anything, and the few that must."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devstack.stack.tokens import SigningKey
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.tokens import Role
from tests.unit.token_steps import (
    EC_KEY,
    RSA_KEY,
    SECRET,
    admit,
    authenticator,
    by_hmac,
    claims,
    es256,
    hs256,
    reason_of,
    rs256,
    signed,
)


@pytest.mark.parametrize("make", [es256, rs256, hs256])
async def test_each_sort_is_taken(make: Any) -> None:
    principal = admit(await authenticator(), make())
    assert (principal.subject, principal.role, principal.identities) == ("alice", Role.AUTHENTICATED, ("alice",))


PUBLIC_FORMS = {
    "pem": EC_KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "der": EC_KEY.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "rsa": RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "jwk": json.dumps(EC_KEY.published).encode(),
    "x": EC_KEY.published["x"].encode(),
    "empty": b"",
}


@pytest.mark.parametrize("form", PUBLIC_FORMS)
@pytest.mark.parametrize("kid", ["ec-key", "rsa-key", None])
@pytest.mark.parametrize("secret", [SECRET, None])
async def test_a_public_key_is_no_secret(form: str, kid: str | None, secret: str | None) -> None:
    token = signed({"alg": "HS256", "typ": "JWT", "kid": kid}, by_hmac(PUBLIC_FORMS[form]))
    assert reason_of(await authenticator(secret), token) == "TOKEN_INVALID"


async def test_a_shared_key_of_the_set_is_not_used() -> None:
    token = signed({"alg": "HS256", "kid": "oct-key"}, by_hmac(SECRET.encode()))
    assert reason_of(await authenticator(None), token) == "TOKEN_INVALID"
    crossed = es256({"kid": "oct-key"})
    assert reason_of(await authenticator(None), crossed) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, [], ["ES256"], 0, "HS512", "PS256", "ES384"])
@pytest.mark.parametrize("signature", [lambda _: b"", by_hmac(SECRET.encode())], ids=["unsigned", "signed"])
async def test_other_algorithms_are_refused(alg: object, signature: Any) -> None:
    token = signed({"alg": alg, "kid": "ec-key"}, signature)
    assert reason_of(await authenticator(), token) == "TOKEN_INVALID"


async def test_a_key_is_used_by_its_own_algorithm_only() -> None:
    who = await authenticator()
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    for token in (
        jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "ec-key"}),
        jwt.encode(claims(), EC_KEY.private, algorithm="ES256", headers={"kid": "rsa-key"}),
        jwt.encode(claims(), RSA_KEY, algorithm="RS512", headers={"kid": "rsa-key"}),
        signed({"alg": "RS256", "kid": "rsa-key"}, lambda text: RSA_KEY.sign(text, pss, SHA256())),
        signed({"alg": "ES256", "kid": "ec-key"}, lambda text: EC_KEY.private.sign(text, ec.ECDSA(SHA384()))),
        signed({"alg": "ES256", "kid": "ec-key"}, lambda _: bytes(64)),
    ):
        assert reason_of(who, token) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("kid", "reason"),
    [
        ("unheard-of", "TOKEN_KEY_UNKNOWN"),
        ("../../../dev/null", "TOKEN_KEY_UNKNOWN"),
        ("' union select 'secret' --", "TOKEN_KEY_UNKNOWN"),
        ("http://attacker.example/jwks.json", "TOKEN_KEY_UNKNOWN"),
        ("ec-key\0", "TOKEN_KEY_UNKNOWN"),
        ("k" * 201, "TOKEN_INVALID"),
        ("k" * 8000, "TOKEN_INVALID"),
        ("", "TOKEN_INVALID"),
        (None, "TOKEN_INVALID"),
        (["ec-key"], "TOKEN_INVALID"),
        ({"ec-key": 1}, "TOKEN_INVALID"),
        (0, "TOKEN_INVALID"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_kid_is_a_name_and_nothing_else(kid: object, reason: str) -> None:
    key = EC_KEY.private
    token = signed({"alg": "ES256", "kid": kid}, lambda text: key.sign(text, ec.ECDSA(SHA256())))
    assert reason_of(await authenticator(), token) == reason


async def test_keys_and_addresses_in_a_token_are_not_looked_at() -> None:
    """The signature is that of the attacker's key, which the token carries or points to."""
    who, attacker = await authenticator(), SigningKey("ec-key")
    for header in (
        {"jwk": attacker.published},
        {"jku": "http://127.0.0.1:1/jwks.json"},
        {"x5u": "http://127.0.0.1:1/chain.pem"},
        {"x5c": ["AAAA"]},
    ):
        forged = jwt.encode(claims(), attacker.private, algorithm="ES256", headers={"kid": "ec-key"} | header)
        assert reason_of(who, forged) == "TOKEN_INVALID"
        assert admit(who, es256(header)).subject == "alice"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg": "ES256", "kid": "ec-key", "alg": "HS256"}',
        b'{"alg": "HS256", "alg": "none"}',
        b'{"alg": "HS256", "crit": ["exp"]}',
        b'{"alg": "HS256", "crit": ["b64"], "b64": false}',
        b'{"alg": "HS256", "b64": false}',
        b"[" * 3000 + b"]" * 3000,
        b'{"alg": "HS256", "x": "' + b"x" * 5000 + b'"}',
        b'["HS256"]',
        b"null",
        b"\xff",
        b"",
    ],
    ids=lambda header: str(header[:40]),
)
async def test_headers_that_mean_two_things_are_refused(header: bytes) -> None:
    token = signed(header, by_hmac(SECRET.encode()))
    assert reason_of(await authenticator(), token) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "token", ["..", "a.b.c", ".a.", "a.b", "a.b.c.d", "x", "\u00e4.\u00f6.\u00fc", "=.=.=", "." * 8000]
)
async def test_what_is_no_jwt_is_refused(token: str) -> None:
    assert reason_of(await authenticator(), token) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"alg": "HS256", "crit": ["exp"]}, "asks for extensions"),
        ({"alg": "HS256", "b64": False}, "asks for extensions"),
        ({"alg": "RS256", "kid": "ec-key"}, "the token's key is for ES256"),
        ({"alg": "ES256", "kid": "rsa-key"}, "the token's key is for RS256"),
        ({"alg": "none"}, "not signed by ES256, RS256 or HS256"),
    ],
    ids=str,
)
async def test_our_own_rules_refuse_before_the_library_is_asked(header: dict[str, Any], words: str) -> None:
    who = await authenticator()
    with pytest.raises(ApiError, match=words):
        admit(who, signed(header, by_hmac(SECRET.encode())))
