"""HS256 tokens: signed URLs, each naming one object and an expiry, and the keys that are JWTs of the project."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from .errors import WireError


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified_claims(token: str, secret: str) -> dict[str, Any] | None:
    """Claims of a JWT signed with this secret by HS256, and by nothing else; None for every other text."""
    signed, _, signature = token.rpartition(".")
    expected = _encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    try:
        header, claims = (json.loads(_decode(part)) for part in signed.split("."))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) and header.get("alg") == "HS256" else None


class Signer:
    """Issues and checks tokens; they stay valid over a restart, since the key comes from the secret key."""

    def __init__(self, secret_key: str) -> None:
        self._key = hashlib.sha256(b"signed-url:" + secret_key.encode()).digest()

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())

    def issue(self, target: str, expires_in_seconds: int) -> str:
        now = int(time.time())
        claims = {"url": target, "iat": now, "exp": now + expires_in_seconds}
        parts = [_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
        signed = ".".join(parts)
        return f"{signed}.{self._signature(signed)}"

    def check(self, token: str, target: str) -> None:
        """Check that the token was issued here for this `bucket/key` and has not expired.

        Raises:
            WireError: InvalidJWT.
        """
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise WireError.invalid_token("signature verification failed")
        claims = json.loads(_decode(signed.partition(".")[2]))
        if claims["url"] != target:
            raise WireError.invalid_token("Invalid signature")
        if claims["exp"] <= time.time():
            raise WireError.invalid_token('"exp" claim timestamp check failed')
