"""TLS as the command line speaks it: whom it trusts, which certificate it shows, and why a connection fails."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import grpc

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import Endpoint
from superstoryboard.config.certificates import CertificateError, PemFile, authorities, key_pair

CA, CERT, KEY = "STORYBOARD_TLS_CA", "STORYBOARD_TLS_CERT", "STORYBOARD_TLS_KEY"
PROBE_SECONDS = 3.0
EXPIRED, NOT_YET_VALID = 10, 9
HOST_MISMATCH = frozenset({62, 64})
"""OpenSSL's numbers of what a check of a certificate finds: name and address."""


def channel_credentials() -> grpc.ChannelCredentials:
    """What a channel needs to speak TLS, by the settings; without an own CA the system's are trusted.

    Raises:
        CommandError: a file cannot be used, or one of certificate and key is missing.
    """
    trusted, certificate, key = (_file(name) for name in (CA, CERT, KEY))
    if (certificate is None) != (key is None):
        raise CommandError(ExitCode.USAGE, [f"{KEY if key is None else CERT} is required: set both {CERT} and {KEY}."])
    try:
        roots = authorities(trusted.read()) if trusted else None
        pair = key_pair(certificate.read(), key.read()) if certificate and key else None
    except CertificateError as error:
        raise CommandError(ExitCode.USAGE, [f"{error}."]) from error
    return grpc.ssl_channel_credentials(roots, pair.key if pair else None, pair.chain if pair else None)


def connection_problem(endpoint: Endpoint) -> str | None:
    """Why gRPC found no connection, and what to do, as far as a handshake of our own shows it; else None."""
    try:
        with _connection(endpoint) as connection:
            if not endpoint.tls:
                speaks_tls = _speaks_tls(connection)
                return f"requires TLS. Set {endpoint.setting} to https://{endpoint.address}." if speaks_tls else None
            with _context().wrap_socket(connection, server_hostname=_host(endpoint)) as secured:
                return _refusal_after(secured)
    except ssl.SSLCertVerificationError as error:
        return _certificate_problem(error, _host(endpoint), endpoint)
    except ssl.SSLError as error:
        return _refusal(error.reason or "", endpoint)
    except (OSError, ValueError):
        return None


def certificate_end(endpoint: Endpoint) -> datetime | None:
    """When the certificate of a service expires; None where that cannot be read."""
    try:
        with (
            _connection(endpoint) as connection,
            _context().wrap_socket(connection, server_hostname=_host(endpoint)) as secured,
        ):
            shown = secured.getpeercert() or {}
    except (OSError, ValueError):
        return None
    end = shown.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None


def _connection(endpoint: Endpoint) -> socket.socket:
    port = int(endpoint.address.rpartition(":")[2])
    return socket.create_connection((_host(endpoint), port), PROBE_SECONDS)


def _host(endpoint: Endpoint) -> str:
    return endpoint.address.rpartition(":")[0].strip("[]")


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get(CA) or None)
    context.set_alpn_protocols(["h2"])
    if os.environ.get(CERT):
        context.load_cert_chain(os.environ[CERT], os.environ.get(KEY))
    return context


def _speaks_tls(connection: socket.socket) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except OSError:
        return False
    return True


def _certificate_problem(error: ssl.SSLCertVerificationError, host: str, endpoint: Endpoint) -> str:
    if error.verify_code == EXPIRED:
        return "has an expired certificate. Renew the files of its GRPC_TLS_CERT and GRPC_TLS_KEY."
    if error.verify_code == NOT_YET_VALID:
        return "has a certificate that is not valid yet. Check the clock of this machine."
    if error.verify_code in HOST_MISMATCH:
        return (
            f"has a certificate for another name than {host}."
            f" Set {endpoint.setting} to a name that the certificate has, or add {host} to the certificate."
        )
    trusted = f"the CA in {CA}" if os.environ.get(CA) else "a CA that this machine trusts"
    return f"has a certificate that is not signed by {trusted}. Set {CA} to the file of the CA that signed it."


def _refusal_after(secured: ssl.SSLSocket) -> str | None:
    """What a server has against our certificate, of which we hear after the handshake; others send their settings."""
    try:
        if secured.recv(1):
            return None
    except TimeoutError:
        return None
    except OSError:
        pass  # by an alert, a reset or an end without a word, as the server's library likes
    return _client_certificate_problem()


def _refusal(reason: str, endpoint: Endpoint) -> str | None:
    if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
        return f"does not speak TLS. Set {endpoint.setting} to http://{endpoint.address}, or turn on TLS there."
    return _client_certificate_problem() if "ALERT" in reason else None


def _client_certificate_problem() -> str:
    certificate, key = _file(CERT), _file(KEY)
    if certificate is None or key is None:
        return f"requires a client certificate. Set {CERT} and {KEY} to the files of one."
    if key_pair(certificate.read(), key.read()).not_after <= datetime.now(UTC):
        return f"rejects the certificate in {CERT}: it has expired. Renew it."
    return f"rejects the certificate in {CERT}. Use one that the CA in its GRPC_TLS_CLIENT_CA signed."


def _file(name: str) -> PemFile | None:
    value = os.environ.get(name, "").strip()
    return PemFile(name, Path(value)) if value else None
