"""What a server shows in a TLS handshake, and certificate files as Kubernetes mounts them."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import grpc
from cryptography import x509

from devstack.stack.certificates import Authority, Certificate
from tests.running import OWN_CONNECTION

HANDSHAKE_SECONDS = 30.0
CERT, KEY, CA = "tls.crt", "tls.key", "ca.crt"


class Volume:
    """A folder whose files are links through `..data`, which is swapped at once, as a secret's volume is."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._published = 0
        for name in (CERT, KEY, CA):
            (folder / name).symlink_to(Path("..data") / name)

    def publish(self, certificate: Path, key: Path, client_ca: Path) -> None:
        """Show these files from now on."""
        self._published += 1
        made = self.folder / f"..{self._published}"
        made.mkdir()
        for name, source in ((CERT, certificate), (KEY, key), (CA, client_ca)):
            shutil.copyfile(source, made / name)
        link = self.folder / "..data_tmp"
        link.symlink_to(made.name)
        link.replace(self.folder / "..data")

    def settings(self) -> dict[str, str]:
        """For a service that speaks mutual TLS."""
        return {
            "GRPC_TLS_CERT": str(self.folder / CERT),
            "GRPC_TLS_KEY": str(self.folder / KEY),
            "GRPC_TLS_CLIENT_CA": str(self.folder / CA),
        }


def serial(certificate: Path) -> int:
    """The number of a certificate."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number


def handshake(address: str, context: ssl.SSLContext) -> tuple[int, str]:
    """Number of the certificate that a server shows, and the version of TLS."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), HANDSHAKE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number, secured.version() or ""


def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that trusts this authority and has no certificate."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.set_alpn_protocols(["h2"])
    return context


def secure(address: str, authority: Authority, client: Certificate | None = None) -> grpc.Channel:
    """A channel of its own connection."""
    roots = authority.certificate.read_bytes()
    key = client.key.read_bytes() if client else None
    chain = client.certificate.read_bytes() if client else None
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(roots, key, chain), OWN_CONNECTION)
