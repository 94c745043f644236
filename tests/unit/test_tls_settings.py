"""The files of a service's certificate are checked at start, and what is wrong names its setting."""

from __future__ import annotations

from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from devstack.stack.certificates import HOSTS, Authority, Certificate
from services.ingest.settings import IngestSettings
from superstoryboard.config.settings import SettingsError
from superstoryboard.rpc.tls import ServerTls
from superstoryboard.telemetry.metrics import new_registry
from superstoryboard.telemetry.tls_metrics import TlsMetrics
from tests.running import SECRET


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/postgres")
    monkeypatch.setenv("SUPABASE_JWT_SECRET", SECRET)
    certificate = Authority(tmp_path).issue("server", *HOSTS)
    monkeypatch.setenv("GRPC_TLS_CERT", str(certificate.certificate))
    monkeypatch.setenv("GRPC_TLS_KEY", str(certificate.key))
    return certificate


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        IngestSettings.read()
    return str(caught.value)


def test_a_pair_is_accepted_and_without_one_there_is_no_tls(made: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    files = IngestSettings.read().served_files()
    assert files is not None
    assert files.read().check().pair.chain == made.certificate.read_bytes()
    monkeypatch.delenv("GRPC_TLS_CERT")
    monkeypatch.delenv("GRPC_TLS_KEY")
    assert IngestSettings.read().served_files() is None


@pytest.mark.parametrize(
    ("missing", "words"),
    [("GRPC_TLS_KEY", "GRPC_TLS_KEY is required"), ("GRPC_TLS_CERT", "GRPC_TLS_CERT is required")],
)
def test_one_of_the_two_is_missing(
    made: Certificate, monkeypatch: pytest.MonkeyPatch, missing: str, words: str
) -> None:
    del made
    monkeypatch.delenv(missing)
    assert words in refusal()


def test_a_ca_of_clients_needs_a_certificate(made: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_TLS_CLIENT_CA", str(made.certificate))
    monkeypatch.delenv("GRPC_TLS_CERT")
    monkeypatch.delenv("GRPC_TLS_KEY")
    assert "GRPC_TLS_CERT and GRPC_TLS_KEY are required with GRPC_TLS_CLIENT_CA" in refusal()


@pytest.mark.parametrize("name", ["GRPC_TLS_CERT", "GRPC_TLS_KEY", "GRPC_TLS_CLIENT_CA"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nMIIB"])
def test_a_file_that_cannot_be_used(
    made: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None
) -> None:
    del made
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(name, str(file))
    assert f"{name}: {file}" in refusal()


def test_a_chain_that_is_cut_off(made: Certificate) -> None:
    whole = made.certificate.read_bytes()
    made.certificate.write_bytes(whole + whole[: len(whole) // 2])
    assert "GRPC_TLS_CERT" in refusal()


def test_a_key_of_another_certificate(made: Certificate, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("server", *HOSTS)
    made.key.write_bytes(other.key.read_bytes())
    assert "GRPC_TLS_KEY" in refusal()
    assert "is not the key of the first certificate in GRPC_TLS_CERT" in refusal()


def test_a_key_with_a_password(made: Certificate) -> None:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a-password")))
    assert "is encrypted; store the key without a password" in refusal()


def test_a_certificate_of_an_unknown_curve_changes_nothing_while_the_server_runs(made: Certificate) -> None:
    files = IngestSettings.read().served_files()
    assert files is not None
    server = ServerTls(files, TlsMetrics(new_registry()))
    der, p256 = PEM_cert_to_DER_cert(made.certificate.read_text()), bytes.fromhex("06082a8648ce3d030107")
    assert p256 in der
    made.certificate.write_text(DER_cert_to_PEM_cert(der.replace(p256, p256[:-1] + b"\x77")))
    server.look()
    assert "has a certificate whose key or time cannot be read" in refusal()
