"""A certificate authority on one machine: it lives as long as the program that made it, and nobody else trusts it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .ports import LOOPBACK

BEFORE = timedelta(days=1)
LIFE = timedelta(days=30)
HOSTS = (LOOPBACK, "localhost")


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Makes its own certificate in a folder, and others that it signs. Its key stays in memory."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = _name(f"{name} of this machine")
        self.certificate = folder / f"{name}.crt"
        made = _builder(self._name, self._name, self._key, LIFE)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        made = made.add_extension(identifier, critical=False)
        _write(self.certificate, made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(self, name: str, *hosts: str, life: timedelta = LIFE, after: timedelta = timedelta()) -> Certificate:
        """A certificate for these hosts, for servers and clients, that is valid `after` some time.

        A negative `life` makes one that has expired.
        Files of that name are replaced one after the other, each at once.
        """
        key = generate_private_key(SECP256R1())
        made = _builder(_name(name), self._name, key, life, after)
        # Another authority may have the same name: by this a verifier tells the two apart.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(issuer, critical=False)
        if hosts:
            made = made.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
        files = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        _write(files.certificate, made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        _write(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


@dataclass(frozen=True)
class StackTls:
    """The certificates of a stack: one for all of its services, one for clients, both signed by its authority."""

    authority: Authority
    server: Certificate
    client: Certificate

    @classmethod
    def make(cls, folder: Path) -> StackTls:
        """New ones in a folder that only its owner can read."""
        authority = Authority(folder)
        return cls(authority, authority.issue("server", *HOSTS), authority.issue("client"))

    def server_settings(self) -> dict[str, str]:
        """For services, which accept only clients with a certificate of the authority."""
        return {
            "GRPC_TLS_CERT": str(self.server.certificate),
            "GRPC_TLS_KEY": str(self.server.key),
            "GRPC_TLS_CLIENT_CA": str(self.authority.certificate),
        }

    def client_settings(self) -> dict[str, str]:
        """For the command line."""
        return {
            "STORYBOARD_TLS_CA": str(self.authority.certificate),
            "STORYBOARD_TLS_CERT": str(self.client.certificate),
            "STORYBOARD_TLS_KEY": str(self.client.key),
        }


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    life: timedelta,
    after: timedelta = timedelta(),
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(life, after) - BEFORE)
        .not_valid_after(now + life)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(path: Path, data: bytes) -> None:
    """Replace a file at once, so that nobody reads half of it; only its owner may read it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)
