"""Doctor tells how a service is spoken to: its certificate's end, and why there is no connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from devstack.stack.certificates import HOSTS, Authority
from devstack.stack.ports import free_port
from tests.doctor.fixture import Doctor
from tests.running import Service, running


@pytest.fixture
def ingest(doctor: Doctor, database_url: str, tmp_path: Path) -> Iterator[Service]:
    authority = Authority(tmp_path / "authority")
    certificate = authority.issue("server", *HOSTS, life=timedelta(days=3))
    settings = {
        "DATABASE_URL": database_url,
        "HEALTH_LISTEN": f"127.0.0.1:{free_port()}",
        "GRPC_TLS_CERT": str(certificate.certificate),
        "GRPC_TLS_KEY": str(certificate.key),
    }
    with running("ingest", settings, tmp_path / "log") as service:
        doctor.set(INGEST_ADDRESS=f"https://{service.address}", STORYBOARD_TLS_CA=str(authority.certificate))
        yield service


def test_a_certificate_that_ends_soon_warns(doctor: Doctor, ingest: Service) -> None:
    result = doctor()
    assert (result.code, result.state("ingest")) == (0, "warning")
    assert f"{ingest.address} is SERVING, over TLS; its certificate expires 20" in result.sentence("ingest")
    assert "Renew the files of its GRPC_TLS_CERT" in result.sentence("ingest")


def test_an_unknown_ca_is_said(doctor: Doctor, ingest: Service, tmp_path: Path) -> None:
    doctor.set(STORYBOARD_TLS_CA=str(Authority(tmp_path / "stranger").certificate))
    result = doctor()
    assert (result.code, result.failed) == (3, ["ingest"])
    assert f"{ingest.address} has a certificate that is not signed by the CA" in result.sentence("ingest")
    assert "Set STORYBOARD_TLS_CA to the file of the CA" in result.sentence("ingest")


def test_plaintext_to_a_port_of_tls_is_said(doctor: Doctor, ingest: Service) -> None:
    doctor.set(INGEST_ADDRESS=ingest.address)
    result = doctor()
    assert (result.code, result.failed) == (3, ["ingest"])
    assert f"requires TLS. Set INGEST_ADDRESS to https://{ingest.address}" in result.sentence("ingest")
