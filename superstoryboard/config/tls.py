"""Settings of TLS on the gRPC port, and of the health port beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import model_validator

from superstoryboard.config.certificates import KeyPair, Pem, PemFile, authorities, key_pair
from superstoryboard.config.settings import Port, Settings


@dataclass(frozen=True)
class Served:
    """What a server shows to clients, and whose certificates it asks of them."""

    pair: KeyPair
    client_ca: bytes | None


@dataclass(frozen=True)
class ServedPems:
    """What the files of a server held when they were read."""

    certificate: Pem
    key: Pem
    client_ca: Pem | None

    def check(self) -> Served:
        """What can be served of them.

        Raises:
            CertificateError: a file cannot be used; the message names its setting.
        """
        client_ca = authorities(self.client_ca) if self.client_ca else None
        return Served(key_pair(self.certificate, self.key), client_ca)


@dataclass(frozen=True)
class ServedFiles:
    """The files of a server. With `client_ca` only clients with a certificate that it signed may connect."""

    certificate: PemFile
    key: PemFile
    client_ca: PemFile | None = None

    def read(self) -> ServedPems:
        """What the files hold now.

        Raises:
            CertificateError: a file cannot be read; the message names its setting.
        """
        client_ca = self.client_ca.read() if self.client_ca else None
        return ServedPems(self.certificate.read(), self.key.read(), client_ca)


class TlsSettings(Settings):
    """Files of the gRPC port's certificate, and the plaintext port for health checks."""

    grpc_tls_cert: Path | None = None
    grpc_tls_key: Path | None = None
    grpc_tls_client_ca: Path | None = None
    health_listen: Port | None = None

    def served_files(self) -> ServedFiles | None:
        """The files of TLS; None where the gRPC port speaks plaintext."""
        if self.grpc_tls_cert is None or self.grpc_tls_key is None:
            return None
        client_ca = self.grpc_tls_client_ca
        return ServedFiles(
            PemFile("GRPC_TLS_CERT", self.grpc_tls_cert),
            PemFile("GRPC_TLS_KEY", self.grpc_tls_key),
            PemFile("GRPC_TLS_CLIENT_CA", client_ca) if client_ca else None,
        )

    @model_validator(mode="after")
    def check_certificates(self) -> Self:
        """Certificate and key come together and belong together; certificates of clients only with them."""
        if (self.grpc_tls_cert is None) != (self.grpc_tls_key is None):
            missing = "GRPC_TLS_KEY" if self.grpc_tls_key is None else "GRPC_TLS_CERT"
            raise ValueError(f"{missing} is required: TLS needs both GRPC_TLS_CERT and GRPC_TLS_KEY")
        files = self.served_files()
        if files is not None:
            files.read().check()
        elif self.grpc_tls_client_ca is not None:
            raise ValueError("GRPC_TLS_CERT and GRPC_TLS_KEY are required with GRPC_TLS_CLIENT_CA")
        return self
