"""Addresses of a Supabase project. Its APIs are below the address, so a copied one with a path would lead nowhere."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

API_PATH = re.compile(r"/(rest|storage|auth|functions|realtime|graphql)/v1(/.*)?$")


def address_problem(url: str, *, path_allowed: bool = False) -> str | None:
    """Why a URL cannot be a project's address, with the right form; None where it can.

    A path is allowed where a proxy gives out what the public reads, but never that of one of Supabase's APIs.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        return "it is not an http or https URL; set it to the project's URL, such as https://PROJECT.supabase.co"
    path = parts.path.rstrip("/")
    if (path and not path_allowed) or API_PATH.search(path) or parts.query or parts.fragment:
        right = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
        return f"it has a path, but the paths of the APIs are added to it; set it to {right}"
    return None


def _project_url(url: str) -> str:
    problem = address_problem(url)
    if problem is not None:
        raise ValueError(problem)
    return url.rstrip("/")


def _public_url(url: str) -> str:
    problem = address_problem(url, path_allowed=True)
    if problem is not None:
        raise ValueError(problem)
    return url.rstrip("/")


ProjectUrl = Annotated[str, AfterValidator(_project_url)]
"""`SUPABASE_URL`: scheme, host and port."""
PublicUrl = Annotated[str, AfterValidator(_public_url)]
"""`SUPABASE_PUBLIC_URL`: the same, behind a proxy perhaps with a path."""
