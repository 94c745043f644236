"""The settings that are checked, read as the services read them."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from storyboard.api.settings import secret

_INSIDE_SUFFIXES = (".local", ".internal", ".localhost", ".svc", ".lan")


def value(name: str, default: str = "") -> str:
    """A setting without surrounding blanks; an empty one counts as absent."""
    return os.environ.get(name, "").strip() or default


def flag(name: str) -> bool:
    """A setting that is on or off."""
    return value(name).lower() in {"1", "true", "yes", "on", "t", "y"}


def secret_key() -> tuple[str, str]:
    """Storage's secret key and the setting that holds it."""
    return _first("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SERVICE_KEY")


def is_inside(host: str) -> bool:
    """Whether a host is this machine or in its own network, where plain text is usual."""
    name = host.strip("[]").lower()
    if not name or name.startswith("/"):
        return True
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return "." not in name or name.endswith(_INSIDE_SUFFIXES)


def host_of(url: str) -> str:
    """The host of a URL; empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _first(*names: str) -> tuple[str, str]:
    for name in names:
        value = secret(name)
        if value:
            return value, name
    return "", names[0]
