"""Tokens that must not open anything, and the few that must: one key of each sort, one secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devstack.stack.tokens import SigningKey
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.claims import ClaimRules
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.tokens import Principal, Role

SECRET = "a-secret-of-the-tests-that-is-long-enough"
ISSUER = "https://project.supabase.co/auth/v1"
EC_KEY = SigningKey("ec-key")
RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA_JWK = {"kid": "rsa-key", **jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)}
OCT_JWK = {"kid": "oct-key", "kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()}
SET = {"keys": [EC_KEY.published, RSA_JWK, OCT_JWK]}
RULES = ClaimRules(issuers=frozenset({ISSUER}))


class Set:
    async def read(self) -> bytes:
        return json.dumps(SET).encode()


def claims(**changes: object) -> dict[str, Any]:
    now = time.time()
    whole = {"iss": ISSUER, "sub": "alice", "role": "authenticated", "aud": "authenticated", "iat": now}
    return {key: value for key, value in (whole | {"exp": now + 3600} | changes).items() if value is not None}


def body(**changes: object) -> bytes:
    return json.dumps(claims(**changes)).encode()


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, sign: Any, payload: object = None) -> str:
    text = f"{encoded(header)}.{encoded(claims() if payload is None else payload)}"
    return f"{text}.{encoded(sign(text.encode()))}"


def by_hmac(secret: bytes) -> Any:
    return lambda text: hmac.new(secret, text, hashlib.sha256).digest()


def es256(header: dict[str, Any] | None = None, **changes: object) -> str:
    whole = {"kid": EC_KEY.kid} | (header or {})
    return jwt.PyJWS().encode(body(**changes), EC_KEY.private, algorithm="ES256", headers=whole)


def rs256(**changes: object) -> str:
    return jwt.PyJWS().encode(body(**changes), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-key"})


def hs256(**changes: object) -> str:
    return jwt.PyJWS().encode(body(**changes), SECRET, algorithm="HS256")


async def authenticator(secret: str | None = SECRET, rules: ClaimRules = RULES, *, keys: bool = True) -> Authenticator:
    found = TokenKeys(Set()) if keys else None
    made = Authenticator([JwtVerifier(rules, secret, found)], found)
    await made.prepare()
    return made


def admit(who: Authenticator, token: str) -> Principal:
    method = "/superstoryboard.v1.GenerationService/ListJobs"
    return who.admit(method, (("authorization", f"Bearer {token}"),))


def reason_of(who: Authenticator, token: str) -> str:
    with pytest.raises(ApiError) as caught:
        admit(who, token)
    assert token not in str(caught.value)
    assert SECRET not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("make", [es256, rs256, hs256])
async def test_each_sort_is_taken(make: Any) -> None:
    found = admit(await authenticator(), make())
    assert (found.subject, found.role, found.identities) == ("alice", Role.AUTHENTICATED, ("alice",))


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
    ids=str,
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
    found = admit(await authenticator(rules=OWNERS), es256(app_metadata=metadata, user_metadata={"user_id": "bob"}))
    assert found.identities == identities


@pytest.mark.parametrize("value", [7, {"a": "b"}, "sql", "service_role", "", "a\nb", "x" * 129, [["a"]], [7]], ids=str)
async def test_owner_claims_that_are_no_names_are_refused(value: object) -> None:
    token = es256(app_metadata={"user_id": value})
    assert reason_of(await authenticator(rules=OWNERS), token) == "TOKEN_INVALID"
