"""Where source images may come from."""

import ipaddress
from collections.abc import Callable
from pathlib import Path

import pytest

from superstoryboard.providers.addresses import Address, is_public
from superstoryboard.providers.source import SourceFetcher
from tests.conformance.http_stub import Answer, Stub, contexts, serve
from tests.conformance.source_steps import anyone, failure, fetcher, is_loopback, picture


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/x.png",
        "https://elsewhere.example/x.png",
        "https://pictures.example.evil.example/x.png",
        "https://user:secret@pictures.example/x.png",
        "ftp://pictures.example/x.png",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "http://\u2028/",
        "",
        "https://xn--/x.png",
        "https://xn--a/x.png",
        "https://xn--a.pictures.example/x.png",
        "https://b\u00fccher.example/x.png",
        "https://pictures.example:0/x.png",
        "https://pictures.example:99999/x.png",
        "https://pictures.example:/x.png",
        "https://pictures.example\\@elsewhere.example/x.png",
        "https://elsewhere.example/\ud800",
        "https://[::1]/x.png",
        "https://[::ffff:127.0.0.1]/x.png",
        "https://[fe80::1%25eth0]/x.png",
        "https://[not-an-address]/x.png",
        "https://[v1.address]/x.png",
        "https://2130706433/x.png",
        "https://" + "a." * 1000 + "example/x.png",
    ],
)
async def test_other_places_are_not_asked(storage: Stub, url: str) -> None:
    async with fetcher(storage, "pictures.example") as sources:
        error = await failure(sources, url)
    assert error.code == "SOURCE_NOT_ALLOWED"
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "path",
    [
        "/auth/v1/admin/users",
        "/storage/v1/../../rest/v1/kv",
        "/storage/v1/..%2F..%2Frest/v1/kv",
        "/storage/v1/%2e%2e/rest",
        "/rest/v1/",
        "/",
    ],
)
async def test_only_objects_of_the_storage_not_its_neighbours(storage: Stub, path: str) -> None:
    async with fetcher(storage) as sources:
        error = await failure(sources, storage.url + path)
    assert error.code in {"SOURCE_NOT_ALLOWED", "SOURCE_NOT_FOUND"}
    assert not [asked for asked in storage.asked if not asked.target.startswith("/storage/v1/")]


async def test_an_allowed_host_at_a_private_address_is_refused(storage: Stub) -> None:
    async with fetcher(storage, "localhost") as sources:
        error = await failure(sources, f"https://localhost:{storage.port}/x.png")
    assert (error.code, error.message) == ("SOURCE_NOT_ALLOWED", "sourceImageUrl must be on a public address")
    assert storage.asked == []


async def test_a_host_that_is_not_known_may_be_known_later(storage: Stub) -> None:
    async with fetcher(storage, "no-such-host.invalid") as sources:
        error = await failure(sources, "https://no-such-host.invalid/x.png")
    assert (error.error_class.value, error.code) == ("TRANSIENT", "SOURCE_UNAVAILABLE")
    assert error.message == "sourceImageUrl has a host name that cannot be resolved"


async def test_an_allowed_host_is_reached_at_the_checked_address(storage: Stub, tmp_path: Path) -> None:
    server_tls, client_tls = contexts(tmp_path, "localhost")
    async with serve(server_tls) as shop:
        shop.answers["/x.png"] = Answer(302, headers={"location": "/y.png", "set-cookie": "a=b; Path=/"})
        shop.answers["/y.png"] = Answer(body=picture())
        shop.answers["/inward"] = Answer(302, headers={"location": "http://localhost:1/x"})
        sources = SourceFetcher(
            [storage.url], ["*.example.com", "LOCALHOST."], tls=client_tls, address_allowed=is_loopback
        )
        source = await sources.fetch(f"https://localhost:{shop.port}/x.png", anyone)
        inward = await failure(sources, f"https://localhost:{shop.port}/inward")
        await sources.aclose()
    assert source.data == picture()
    assert [asked.headers["host"] for asked in shop.asked] == [f"localhost:{shop.port}"] * 3
    assert not any("cookie" in asked.headers for asked in shop.asked)
    assert inward.code == "SOURCE_NOT_ALLOWED"


async def test_a_certificate_of_another_name_is_not_accepted(storage: Stub, tmp_path: Path) -> None:
    server_tls, client_tls = contexts(tmp_path, "elsewhere.example")
    async with serve(server_tls) as shop:
        shop.answers["/x.png"] = Answer(body=picture())
        sources = SourceFetcher([storage.url], ["localhost"], tls=client_tls, address_allowed=is_loopback)
        error = await failure(sources, f"https://localhost:{shop.port}/x.png")
        await sources.aclose()
    assert error.code == "SOURCE_UNAVAILABLE"
    assert shop.asked == []


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:a00:1::", False),
        ("2001:0:53aa:64c::1", False),
        ("64:ff9b:1::808:808", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::ffff:0:127.0.0.1", False),
        ("::ffff:0:8.8.8.8", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("192.88.99.1", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("::ffff:168.63.129.16", False),
        ("64:ff9b::a83f:8110", False),
        ("100:1::1", False),
        ("4000::1", False),
    ],
)
def test_public_addresses(text: str, public: bool) -> None:
    check: Callable[[Address], bool] = is_public
    assert check(ipaddress.ip_address(text)) is public
