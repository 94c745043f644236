"""The public keys that services check users' tokens with: whether they can be read and used, and whose they are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from storyboard.api.errors import ExitCode
from storyboard.api.settings import secret, token
from storyboard.doctor.environment import host_of, is_inside, value
from storyboard.doctor.findings import Finding, failed, not_set, ok, unreachable, warning
from storyboard.doctor.keys import read_token
from superstoryboard.config.addresses import address_problem
from superstoryboard.config.server import AUTH_PATH, JWKS_PATH
from superstoryboard.rpc.key_sources import KeyFile, KeySource, KeyUrl
from superstoryboard.rpc.token_keys import KeySet, KeySetError, parse_key_set, shown

NAME = "token keys"
LEGACY = "The project signs with its secret: set SUPABASE_JWT_SECRET for the services, or rotate to a signing key."


async def check_token_keys() -> list[Finding]:
    """Read the key set as a service would, and compare the token's issuer with those that services take."""
    setting, source = _source()
    if source is None:
        return [not_set(NAME, "SUPABASE_URL")]
    if setting == "SUPABASE_URL" and address_problem(value(setting)):
        return [failed(NAME, "SUPABASE_URL is no address of a project", "Correct it first.", ExitCode.USAGE)]
    try:
        keys = parse_key_set(await source.read())
    except KeySetError as error:
        return [_unread(setting, str(error))]
    return [_keys(setting, keys), *_issuer()]


def _source() -> tuple[str, KeySource | None]:
    file, url, project = value("SUPABASE_JWKS_FILE"), value("SUPABASE_JWKS_URL"), value("SUPABASE_URL")
    if file:
        return "SUPABASE_JWKS_FILE", KeyFile(Path(file))
    if url:
        return "SUPABASE_JWKS_URL", KeyUrl(url)
    return "SUPABASE_URL", KeyUrl(project.rstrip("/") + JWKS_PATH) if project else None


def _unread(setting: str, problem: str) -> Finding:
    message = f"the key set of {setting} {problem}"
    if secret("SUPABASE_JWT_SECRET"):
        return warning(NAME, message, "Until it can be read, only tokens signed with SUPABASE_JWT_SECRET are accepted.")
    return unreachable(NAME, message, f"Correct {setting}, or start the project's Auth: its keys are at {JWKS_PATH}.")


def _keys(setting: str, keys: KeySet) -> Finding:
    dropped = "; ".join(f"{key.kty} key {key.kid}: {key.reason}" for key in keys.dropped)
    if not keys.keys:
        message = f"the key set of {setting} has no usable key{f' ({dropped})' if dropped else ''}"
        if not keys.dropped and secret("SUPABASE_JWT_SECRET"):
            return ok(NAME, f"{message}; SUPABASE_JWT_SECRET is set")
        return warning(NAME, message, LEGACY)
    usable = ", ".join(f"{shown(key.kid)} ({key.algorithm})" for key in keys.keys.values())
    if dropped:
        return warning(NAME, f"{usable} can be used; not used: {dropped}", "Replace or remove the unused keys.")
    url = value(setting)
    if urlsplit(url).scheme == "http" and not is_inside(host_of(url)):
        action = f"Set {setting} to an https URL: anyone on the network path could replace the keys."
        return warning(NAME, f"{usable}, but read over plain http", action)
    return ok(NAME, f"{usable} read from {setting}")


def _issuer() -> list[Finding]:
    """Nothing where the token names no issuer; a wrong one is refused by every service."""
    issuers = [each.strip() for each in value("JWT_ISSUERS").split(",") if each.strip()] or [
        f"{url.rstrip('/')}{AUTH_PATH}" for url in (value("SUPABASE_URL"), value("SUPABASE_PUBLIC_URL")) if url
    ]
    if not issuers:
        action = "Set SUPABASE_URL or JWT_ISSUERS for the services: without one they do not start."
        return [failed("token issuer", "nothing says whose tokens are accepted", action)]
    claims = read_token(token())
    if claims is None or not claims.issuer or claims.issuer in issuers:
        return []
    action = "Use a token of this project, or set JWT_ISSUERS (or SUPABASE_PUBLIC_URL) to include its iss."
    return [failed("token issuer", "the iss of STORYBOARD_TOKEN is not that of this project", action)]
