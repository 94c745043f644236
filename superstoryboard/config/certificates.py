"""Certificates and keys in PEM files: read whole, checked before anything uses them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

BEGIN = b"-----BEGIN CERTIFICATE-----"


class CertificateError(ValueError):
    """A file cannot be used; the message names its setting and says what to do, and never holds its text."""


@dataclass(frozen=True)
class Pem:
    """What a file held when it was read."""

    setting: str
    path: Path
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class PemFile:
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def read(self) -> Pem:
        """The bytes of the file.

        Raises:
            CertificateError: it cannot be read.
        """
        try:
            return Pem(self.setting, self.path, self.path.read_bytes())
        except OSError as error:
            raise CertificateError(f"{self.setting}: {self.path} cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class KeyPair:
    """A certificate, with those that sign it, and its key, both as PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    not_after: datetime
    """End of the certificate, or of one of its chain that ends before it."""


def authorities(pem: Pem) -> bytes:
    """Certificates to trust, as PEM.

    Raises:
        CertificateError: there are none, or the file is not whole.
    """
    _certificates(pem)
    return pem.data


def key_pair(certificate: Pem, key: Pem) -> KeyPair:
    """A certificate and its key.

    Raises:
        CertificateError: a file cannot be used, or the two do not belong together.
    """
    chain = _certificates(certificate)
    try:
        public_key, not_after = _encoded(chain[0].public_key()), min(each.not_valid_after_utc for each in chain)
    except (ValueError, UnsupportedAlgorithm):
        problem = "has a certificate whose key or time cannot be read"
        raise CertificateError(f"{certificate.setting}: {certificate.path} {problem}") from None
    if _encoded(_private_key(key).public_key()) != public_key:
        raise CertificateError(
            f"{key.setting}: {key.path} is not the key of the first certificate in {certificate.setting}"
            f" ({certificate.path}); set both to files of one pair"
        )
    return KeyPair(certificate.data, key.data, not_after)


def _certificates(pem: Pem) -> list[x509.Certificate]:
    problem = f"{pem.setting}: {pem.path} has no PEM certificate, or one that is not whole"
    try:
        certificates = x509.load_pem_x509_certificates(pem.data)
    except ValueError:
        raise CertificateError(problem) from None
    if len(certificates) != pem.data.count(BEGIN):
        raise CertificateError(problem)
    return certificates


def _private_key(pem: Pem) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem.data, password=None)
    except TypeError:
        raise CertificateError(f"{pem.setting}: {pem.path} is encrypted; store the key without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        problem = "has no private key in PEM, or one that is not whole"
        raise CertificateError(f"{pem.setting}: {pem.path} {problem}") from None


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
