"""The gRPC port of a service over mutual TLS: who may connect, and certificates that change while it runs."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.stack.certificates import HOSTS, Authority, Certificate
from devstack.stack.ports import free_port
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.running import ALICE, OWN_CONNECTION, Service, bearer, running, token
from tests.scrape import scrape, scrape_until
from tests.tls_peer import Volume, handshake, secure, serial, trusting
from tests.wire import refused

CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Served:
    """A running ingest, its files, and who trusts whom."""

    service: Service
    volume: Volume
    authority: Authority
    certificate: Certificate
    client: Certificate
    metrics: str
    health: str

    @property
    def address(self) -> str:
        """Its gRPC port."""
        return self.service.address

    def publish(self, certificate: Path, key: Path) -> None:
        """Change the certificate and the key."""
        self.volume.publish(certificate, key, self.authority.certificate)

    def list_jobs(self, client: Certificate | None) -> None:
        """One call over a connection of its own."""
        with secure(self.address, self.authority, client) as channel:
            stub = GenerationServiceStub(channel)
            stub.ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=CALL_SECONDS)


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[Served]:
    authority, volume = Authority(tmp_path / "authority"), Volume(tmp_path / "volume")
    certificate, client = authority.issue("server", *HOSTS), authority.issue("client")
    volume.publish(certificate.certificate, certificate.key, authority.certificate)
    metrics, health = (f"127.0.0.1:{free_port()}" for _ in range(2))
    settings = {"DATABASE_URL": database_url, "METRICS_LISTEN": metrics, "HEALTH_LISTEN": health}
    settings |= {"GRPC_CALLS_PER_ADDRESS": "16"}
    with running("ingest", settings | volume.settings(), tmp_path / "log") as service:
        yield Served(service, volume, authority, certificate, client, metrics, health)


def test_only_a_client_with_a_certificate_of_the_ca_may_connect(served: Served, tmp_path: Path) -> None:
    served.list_jobs(served.client)
    strangers = Authority(tmp_path / "strangers")
    expired = served.authority.issue("expired", life=timedelta(hours=-1))
    for client in (None, strangers.issue("client"), expired):
        assert refused(lambda each=client: served.list_jobs(each)).code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[misc]  # mypy infers no lambda with a default
    with grpc.insecure_channel(served.address, OWN_CONNECTION) as channel:
        stub = GenerationServiceStub(channel)
        error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=CALL_SECONDS))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_tls_is_1_2_or_newer(served: Served) -> None:
    old, good = trusting(served.authority), trusting(served.authority)
    for context, version in ((old, ssl.TLSVersion.TLSv1_1), (good, ssl.TLSVersion.TLSv1_2)):
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.load_cert_chain(served.client.certificate, served.client.key)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    assert handshake(served.address, good)[1] == "TLSv1.2"
    with pytest.raises(OSError, match=r"EOF|reset|VERSION"):
        handshake(served.address, old)


def test_a_changed_certificate_is_shown_while_calls_go_on(served: Served) -> None:
    before = serial(served.certificate.certificate)
    request = api.WatchJobsRequest(storyboard_id="board")
    with secure(served.address, served.authority, served.client) as channel:
        stub = GenerationServiceStub(channel)
        create(stub)
        watch = iter(stub.WatchJobs(request, metadata=ALICE, timeout=CALL_SECONDS * 2))
        next(watch)
        assert handshake(served.address, trusting(served.authority))[0] == before
        renewed = served.authority.issue("renewed", *HOSTS, life=timedelta(days=90))
        served.publish(renewed.certificate, renewed.key)
        samples = scrape_until(served.metrics, lambda page: page("tls_reloads_total", outcome="loaded") == 1)
        assert handshake(served.address, trusting(served.authority))[0] == serial(renewed.certificate)
        second = create(stub)
        assert next(watch).event.job_id == second.id
    served.list_jobs(served.client)
    expiry = samples("tls_certificate_expiry_seconds")
    assert expiry is not None
    assert timedelta(days=89) < timedelta(seconds=expiry) <= timedelta(days=90)
    assert samples("tls_reloads_total", outcome="rejected") == 0


def test_files_that_cannot_be_used_change_nothing(served: Served, tmp_path: Path) -> None:
    before = serial(served.certificate.certificate)
    renewed = served.authority.issue("renewed", *HOSTS)
    half = tmp_path / "half.crt"
    half.write_bytes(renewed.certificate.read_bytes()[:200])
    for count, (certificate, key, words) in enumerate(
        (
            (renewed.certificate, served.certificate.key, "GRPC_TLS_KEY"),
            (half, renewed.key, "GRPC_TLS_CERT"),
            (renewed.certificate, half, "no private key"),
        ),
        start=1,
    ):
        served.publish(certificate, key)
        scrape_until(served.metrics, lambda page, n=count: page("tls_reloads_total", outcome="rejected") == n)  # type: ignore[misc]  # as above
        assert handshake(served.address, trusting(served.authority))[0] == before
        served.list_jobs(served.client)
        assert words in served.service.log.read_text()
    assert scrape(served.metrics)("tls_reloads_total", outcome="loaded") == 0
    served.publish(renewed.certificate, renewed.key)
    scrape_until(served.metrics, lambda page: page("tls_reloads_total", outcome="loaded") == 1)
    assert handshake(served.address, trusting(served.authority))[0] == serial(renewed.certificate)
    assert "PRIVATE KEY" not in served.service.log.read_text()


def test_another_ca_of_clients_is_taken_over_too(served: Served, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others")
    served.volume.publish(served.certificate.certificate, served.certificate.key, others.certificate)
    scrape_until(served.metrics, lambda page: page("tls_reloads_total", outcome="loaded") == 1)
    served.list_jobs(others.issue("client"))
    assert refused(lambda: served.list_jobs(served.client)).code() is grpc.StatusCode.UNAVAILABLE


def test_the_health_port_speaks_plaintext_and_nothing_else(served: Served) -> None:
    with grpc.insecure_channel(served.health, OWN_CONNECTION) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "superstoryboard.v1.GenerationService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=CALL_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        long = health_pb2.HealthCheckRequest(service="x" * 5000)
        error = refused(lambda: health.Check(long, timeout=CALL_SECONDS))
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        stub = GenerationServiceStub(channel)
        error = refused(lambda: stub.ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=CALL_SECONDS))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_client_with_a_certificate_is_not_counted_by_its_address(served: Served) -> None:
    """A gateway holds the calls of many callers, each with a token of its own."""
    with secure(served.address, served.authority, served.client) as channel:
        stub = GenerationServiceStub(channel)
        watches = []
        for number in range(18):
            owner, board = bearer(token(f"owner-{number}")), f"board-{number}"
            image = job_pb2.ImageGeneration(storyboard_id=board, prompt="a fox")
            stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=owner, timeout=CALL_SECONDS)
            watches.append(stub.WatchJobs(api.WatchJobsRequest(storyboard_id=board), metadata=owner, timeout=60))
            assert next(iter(watches[-1])).event.sequence
        for watch in watches:
            watch.cancel()  # type: ignore[no-untyped-call]  # in grpc-stubs


def create(stub: GenerationServiceStub) -> job_pb2.Job:
    image = job_pb2.ImageGeneration(storyboard_id="board", prompt=f"a fox at {time.time()}")
    return stub.CreateImageJob(api.CreateImageJobRequest(image=image), metadata=ALICE, timeout=CALL_SECONDS).job
