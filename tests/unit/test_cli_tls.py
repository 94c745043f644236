"""The command line over TLS: what it trusts and shows, and what it says where there is no connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from devstack.stack.certificates import HOSTS, Authority, Certificate
from storyboard.api.addresses import parse_address
from storyboard.api.errors import CommandError
from tests.unit.cli_fixture import Cli, Result, running_cli
from tests.unit.cli_server import scripted_server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    for name in ("STORYBOARD_TLS_CA", "STORYBOARD_TLS_CERT", "STORYBOARD_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with running_cli(capsys, monkeypatch) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def serving(cli: Cli, authority: Authority, certificate: Certificate, *, mutual: bool = False) -> Iterator[str]:
    """The address of a server that speaks TLS; the command line trusts its authority."""
    credentials = grpc.ssl_server_credentials(
        [(certificate.key.read_bytes(), certificate.certificate.read_bytes())],
        authority.certificate.read_bytes() if mutual else None,
        require_client_auth=mutual,
    )
    with scripted_server(cli.script, credentials) as address:
        cli.set(STORYBOARD_TLS_CA=str(authority.certificate), INGEST_ADDRESS=f"https://{address}")
        yield address


def show(cli: Cli, certificate: Certificate) -> None:
    cli.set(STORYBOARD_TLS_CERT=str(certificate.certificate), STORYBOARD_TLS_KEY=str(certificate.key))


def refuses(result: Result, *words: str) -> None:
    """The command found no connection, and its one line has these words."""
    assert (result.code, result.out) == (3, "")
    (line,) = result.err.splitlines()
    for each in words:
        assert each in line


def test_jobs_are_listed_over_tls(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS)):
        assert cli("jobs").code == 0


def test_jobs_are_listed_over_mutual_tls(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS), mutual=True) as address:
        show(cli, authority.issue("client"))
        assert cli("jobs").code == 0
        cli.set(IMAGE_WORKER_ADDRESS=f"https://{address}")
        assert cli("process", "images").code == 0


def test_a_client_certificate_that_is_missing(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS), mutual=True):
        refuses(cli("jobs"), "requires a client certificate", "Set STORYBOARD_TLS_CERT and STORYBOARD_TLS_KEY")


def test_a_client_certificate_of_a_stranger(cli: Cli, authority: Authority, tmp_path: Path) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS), mutual=True):
        show(cli, Authority(tmp_path).issue("client"))
        refuses(cli("jobs"), "rejects the certificate in STORYBOARD_TLS_CERT", "GRPC_TLS_CLIENT_CA")


def test_a_client_certificate_that_has_expired(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS), mutual=True):
        show(cli, authority.issue("old", life=timedelta(hours=-1)))
        refuses(cli("jobs"), "rejects the certificate in STORYBOARD_TLS_CERT", "has expired")


def test_an_unknown_ca(cli: Cli, authority: Authority, tmp_path: Path) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS)):
        cli.set(STORYBOARD_TLS_CA=str(Authority(tmp_path).certificate))
        refuses(cli("jobs"), "is not signed by the CA in STORYBOARD_TLS_CA")
        cli.set(STORYBOARD_TLS_CA="")
        refuses(cli("jobs"), "is not signed by a CA that this machine trusts", "Set STORYBOARD_TLS_CA")


def test_another_name(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("elsewhere", "ingest.example")):
        refuses(cli("jobs"), "has a certificate for another name than 127.0.0.1", "Set INGEST_ADDRESS")


def test_an_expired_certificate(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("late", *HOSTS, life=timedelta(hours=-1))):
        refuses(cli("jobs"), "has an expired certificate", "GRPC_TLS_CERT")


def test_plaintext_to_a_port_of_tls(cli: Cli, authority: Authority) -> None:
    with serving(cli, authority, authority.issue("server", *HOSTS), mutual=True) as address:
        cli.set(INGEST_ADDRESS=f"http://{address}")
        refuses(cli("jobs"), f"at {address} requires TLS", f"Set INGEST_ADDRESS to https://{address}")


def test_tls_to_a_port_of_plaintext(cli: Cli) -> None:
    with scripted_server(cli.script) as address:
        cli.set(INGEST_ADDRESS=f"https://{address}")
        refuses(cli("jobs"), "does not speak TLS", f"Set INGEST_ADDRESS to http://{address}")
        cli.set(INGEST_ADDRESS=f"http://{address}")
        assert cli("jobs").code == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"STORYBOARD_TLS_CA": "/no/such/file"}, "STORYBOARD_TLS_CA: /no/such/file cannot be read"),
        ({"STORYBOARD_TLS_CERT": "/a/file"}, "STORYBOARD_TLS_KEY is required"),
        ({"STORYBOARD_TLS_KEY": "/a/file"}, "STORYBOARD_TLS_CERT is required"),
    ],
)
def test_settings_that_cannot_be_used_are_named(cli: Cli, settings: dict[str, str], words: str) -> None:
    cli.set(INGEST_ADDRESS="https://127.0.0.1:1", **settings)
    result = cli("jobs")
    assert result.code == 2
    assert words in result.err


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("127.0.0.1:50051", ("127.0.0.1:50051", False)),
        ("http://ingest:50051", ("ingest:50051", False)),
        ("http://ingest", ("ingest:80", False)),
        ("https://ingest:50051/", ("ingest:50051", True)),
        ("https://ingest.example", ("ingest.example:443", True)),
        ("ingest.example:443", ("ingest.example:443", True)),
        ("http://ingest.example:443", ("ingest.example:443", False)),
        ("HTTPS://[::1]:50051", ("[::1]:50051", True)),
        ("dns:///ingest:50051", ("dns:///ingest:50051", False)),
    ],
)
def test_addresses(value: str, parsed: tuple[str, bool]) -> None:
    assert parse_address("INGEST_ADDRESS", value) == parsed


@pytest.mark.parametrize(
    "value",
    ["grpcs://ingest:1", "https://", "https://a:b:c", "https://ingest/path", "https://user@ingest", "https://a:x"],
)
def test_other_addresses_are_refused(value: str) -> None:
    with pytest.raises(CommandError, match="INGEST_ADDRESS is not an address"):
        parse_address("INGEST_ADDRESS", value)
