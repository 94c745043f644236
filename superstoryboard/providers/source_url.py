"""Whether a URL of a caller names a host at all, told before anyone asks for it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

LONGEST_HOST = 253
INVALID_HOST = "must be a URL with a valid host and port"

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def url_problem(url: str) -> str | None:
    """Why no client could ask for this URL, as the end of a sentence that begins with the field; None if one could."""
    if _CONTROL.search(url):
        return "must not contain control characters"
    try:
        parts = urlsplit(url)
        return None if _is_host(parts.hostname or "") and parts.port != 0 else INVALID_HOST
    except ValueError:  # also of a port that is no number, and of a label that is no Punycode
        return INVALID_HOST


def _is_host(host: str) -> bool:
    """Raises ValueError where a host of other alphabets has no form in ASCII."""
    if ":" in host:
        return bool(ipaddress.IPv6Address(host))
    labels = host.removesuffix(".").split(".")
    if any(label.startswith("xn--") or not label.isascii() for label in labels):
        import idna  # noqa: PLC0415 - large tables, seldom needed

        host = idna.encode(idna.decode(host)).decode()
        labels = host.removesuffix(".").split(".")
    return len(host) <= LONGEST_HOST and all(_LABEL.fullmatch(label) for label in labels)
