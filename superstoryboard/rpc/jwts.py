"""JWTs: signed with a public key of the project, or with its shared secret; the algorithm is ours, not the token's."""

from __future__ import annotations

import base64
import binascii
from typing import Any, NoReturn

import grpc
import jwt

from superstoryboard.foreign_json import decoded_json
from superstoryboard.rpc.claims import ClaimRules, is_api_key, refuse_api_key
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.key_refresh import TokenKeys
from superstoryboard.rpc.token_keys import ALGORITHMS, LONGEST_KID
from superstoryboard.rpc.tokens import Principal

AUDIENCE = "authenticated"
LEEWAY_SECONDS = 30
LONGEST_REASON = 200
SHARED = "HS256"
MAX_HEADER_BYTES = 4096


class JwtVerifier:
    """Takes ES256 and RS256 by the project's keys, HS256 by its secret, each only where it is configured."""

    def __init__(self, rules: ClaimRules, secret: str | None = None, keys: TokenKeys | None = None) -> None:
        self._rules = rules
        self._secret = secret
        self._keys = keys

    def takes(self, token: str) -> bool:
        """Three parts."""
        return token.count(".") == 2

    def verify(self, token: str) -> Principal:
        """The caller behind a JWT.

        Raises:
            ApiError: UNAUTHENTICATED with the rule that is broken; UNAVAILABLE while no keys are known.
        """
        header = _header(token)
        try:
            key, algorithm = self._key(header)
            claims = _verified(token, key, algorithm)
            return self._rules.principal(claims, by_secret=algorithm == SHARED)
        except ApiError:
            # Such a key has no `aud`, or no secret is set: the rule that it breaks first would say nothing of use.
            if is_api_key(_decoded(token.split(".")[1], len(token))):
                refuse_api_key()
            raise

    def _key(self, header: dict[str, Any]) -> tuple[str | jwt.PyJWK, str]:
        """The one key and algorithm for a token that says this of itself."""
        algorithm = header.get("alg")
        if algorithm == SHARED:
            if self._secret is None:
                _invalid("this service accepts no HS256 tokens; send the access token of a session")
            return self._secret, SHARED
        if algorithm not in ALGORITHMS.values():
            _invalid("the token is not signed by ES256, RS256 or HS256")
        if self._keys is None:
            _invalid("this service takes HS256 tokens only")
        kid = header.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
            _invalid(f"the token's kid is not a string of 1 to {LONGEST_KID} characters")
        key = self._keys.find(kid)
        if key.algorithm != algorithm:
            _invalid(f"the token's key is for {key.algorithm}")
        return key.key, key.algorithm


def _header(token: str) -> dict[str, Any]:
    """The header, of which only `alg` and `kid` are looked at: addresses and keys in it are not."""
    header = _decoded(token.partition(".")[0], MAX_HEADER_BYTES)
    if not isinstance(header, dict):
        _invalid("the token is not valid: its header is not a JSON object")
    if "crit" in header or "b64" in header:
        _invalid("the token is not valid: its header asks for extensions")
    return header


def _decoded(part: str, max_bytes: int) -> Any:
    """The JSON value of a part of a token, of which nothing is verified; None for anything else."""
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded_json(text, max_bytes=max_bytes)


def _verified(token: str, key: str | jwt.PyJWK, algorithm: str) -> dict[str, Any]:
    """The claims of a token whose signature, times and audience are good."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "aud"]},
        )
        int(claims["exp"])
    except jwt.ExpiredSignatureError:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_EXPIRED",
            "the token has expired; sign in again or renew it",
        ) from None
    except jwt.ImmatureSignatureError:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_NOT_YET_VALID",
            "the token is not valid yet (nbf or iat); check the clock of the machine that made it",
        ) from None
    except jwt.InvalidAudienceError:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_AUDIENCE_REFUSED",
            "the token is not valid for this service: its aud must be authenticated",
        ) from None
    except jwt.PyJWTError as error:
        _invalid(f"the token is not valid: {error}"[:LONGEST_REASON])
    except (ValueError, TypeError, ArithmeticError, RecursionError):  # claims that no JWT library foresees
        _invalid("the token is not valid")
    return claims


def _invalid(message: str) -> NoReturn:
    raise ApiError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", message)
