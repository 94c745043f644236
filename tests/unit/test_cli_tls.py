"""The command line over TLS: what it trusts and shows, and what it says where there is no connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from devstack.stack.certificates import HOSTS, Authority, Certificate
from storyboard.api.addresses import parse_address
from storyboard.api.errors import CommandError
from storyboard.api.settings import Endpoint
from storyboard.api.tls import certificate_end, connection_problem
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


@contextmanager
def handshaking(
    authority: Authority,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    *,
    mutual: bool = True,
    sent: bytes = b"",
) -> Iterator[Endpoint]:
    """A server of OpenSSL that takes one connection, says so much, and keeps it until the client closes it."""
    server = authority.issue("plain", *HOSTS)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(server.certificate, server.key)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE

    def serve() -> None:
        with suppress(OSError), listening.accept()[0] as peer, context.wrap_socket(peer, server_side=True) as secured:
            secured.sendall(sent)
            secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint("ingest", "INGEST_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}", tls=True)
        thread.join()


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


def test_a_certificate_that_is_not_valid_yet(cli: Cli, authority: Authority) -> None:
    early = authority.issue("early", *HOSTS, after=timedelta(days=9))
    with serving(cli, authority, early):
        refuses(cli("jobs"), "has a certificate that is not valid yet", "Check the clock of this machine")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refusals_that_other_libraries_send_in_or_after_the_handshake(
    cli: Cli, authority: Authority, version: ssl.TLSVersion
) -> None:
    cli.set(STORYBOARD_TLS_CA=str(authority.certificate))
    with handshaking(authority, version) as endpoint:
        problem = connection_problem(endpoint)
    assert problem is not None
    assert problem.startswith("requires a client certificate")


@pytest.mark.parametrize("sent", [b"", b"settings"])
def test_a_server_that_takes_the_connection_has_no_problem(
    cli: Cli, authority: Authority, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("storyboard.api.tls.PROBE_SECONDS", 5.0 if sent else 0.2)
    cli.set(STORYBOARD_TLS_CA=str(authority.certificate))
    with handshaking(authority, mutual=False, sent=sent) as endpoint:
        assert connection_problem(endpoint) is None


def test_where_nothing_is_there_is_neither_problem_nor_certificate(cli: Cli) -> None:
    cli.set(STORYBOARD_TLS_CA="")
    nowhere = Endpoint("ingest", "INGEST_ADDRESS", "127.0.0.1:1", tls=True)
    assert (connection_problem(nowhere), certificate_end(nowhere)) == (None, None)


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
