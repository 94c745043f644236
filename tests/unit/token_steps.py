"""Tokens for tests of what is taken: one key of each sort, one secret, claims as a test wants them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from devstack.stack.tokens import SigningKey
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.claims import ClaimRules
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.tokens import Principal

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
    token_keys = TokenKeys(Set()) if keys else None
    made = Authenticator([JwtVerifier(rules, secret, token_keys)], token_keys)
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
