"""Tokens that are signed well and hold what no JWT library foresees."""

from __future__ import annotations

import pytest
from jwt import api_jws

from superstoryboard.rpc.claims import ClaimRules
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.jwts import JwtVerifier

SECRET = "a-secret-of-the-tests-that-is-long-enough"


@pytest.mark.parametrize(
    "claims",
    [
        "[" * 5_000,
        '{"exp": 1e999, "aud": "authenticated", "role": "service_role"}',
        '{"exp": ' + "9" * 5_000 + "}",
        '{"exp": "9999999999.5", "aud": "authenticated"}',
        '{"exp": 9999999999, "aud": [{}], "role": "service_role"}',
        "null",
    ],
    ids=["nested", "infinite", "long number", "text", "audience", "nothing"],
)
def test_claims_that_nobody_foresees_are_an_invalid_token(claims: str) -> None:
    token = api_jws.encode(claims.encode(), SECRET, algorithm="HS256", headers={"typ": "JWT"})
    with pytest.raises(ApiError, match="the token is not valid"):
        JwtVerifier(ClaimRules(), SECRET).verify(token)
