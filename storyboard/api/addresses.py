"""Addresses of services: `https://HOST` or port 443 mean TLS, `http://HOST:PORT` and other ports plaintext."""

from __future__ import annotations

from urllib.parse import urlsplit

from storyboard.api.errors import CommandError, ExitCode

HTTPS_PORT = 443
HTTP_PORT = 80
GRPC_NAMES = ("dns://", "unix://")


def parse_address(setting: str, value: str) -> tuple[str, bool]:
    """`host:port` of a setting, and whether it is spoken to by TLS.

    Raises:
        CommandError: the value is a URL of another kind.
    """
    scheme, separator, _ = value.partition("://")
    if not separator or value.startswith(GRPC_NAMES):
        return value, value.endswith(f":{HTTPS_PORT}")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if scheme.lower() not in ("http", "https") or not host or more:
        raise CommandError(
            ExitCode.USAGE,
            [f"{setting} is not an address. Set it to https://HOST:PORT, http://HOST:PORT or HOST:PORT."],
        )
    tls = scheme.lower() == "https"
    return f"{f'[{host}]' if ':' in host else host}:{port or (HTTPS_PORT if tls else HTTP_PORT)}", tls
