"""What a source URL may look like, before anyone is asked: the same rules at accept and at each hop of a fetch."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

MAX_CHARACTERS = 2048
_BARE = re.compile(r"[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff\\\ud800-\udfff]+")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_HOST_CHARACTERS = 253


def url_problem(text: str) -> str | None:
    """The rule that a URL breaks, as the end of a sentence that begins with the field; None for a good one."""
    if len(text) > MAX_CHARACTERS or not _BARE.fullmatch(text) or not text.lower().startswith(("http://", "https://")):
        return f"must be an http or https URL of at most {MAX_CHARACTERS} characters"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    return _host_problem(parts, port)


def _host_problem(parts: SplitResult, port: int | None) -> str | None:
    if "@" in parts.netloc:
        return "must not contain a user name or password"
    if port == 0 or parts.netloc.endswith(":"):
        return "must have a port from 1 to 65535, or none"
    if not _is_host(parts.hostname or "", bracketed=parts.netloc.startswith("[")):
        return "must have a valid host name or IP address"
    return None


def _is_host(host: str, *, bracketed: bool) -> bool:
    if bracketed:
        return _is_ipv6(host)
    name = _ascii_name(host.removesuffix("."))
    return 0 < len(name) <= _HOST_CHARACTERS and all(_LABEL.fullmatch(label) for label in name.split("."))


def _ascii_name(name: str) -> str:
    """A name of another script in punycode; empty where it has no such form, or is written in a wrong one."""
    if name.isascii() and not any(label.startswith("xn--") for label in name.split(".")):
        return name
    import idna  # noqa: PLC0415 - large tables, seldom needed

    try:
        return idna.encode(idna.decode(name)).decode()
    except UnicodeError:
        return ""


def _is_ipv6(host: str) -> bool:
    try:
        return "%" not in host and ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
