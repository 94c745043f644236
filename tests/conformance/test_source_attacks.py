"""Source URLs that are written to lead inwards, and servers that answer to do harm: nobody inside is ever asked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superstoryboard.providers.addresses import Address
from superstoryboard.providers.source import SourceFetcher
from tests.conformance.http_stub import Answer, Stub, contexts, serve
from tests.conformance.source_steps import OBJECT, anyone, failure, fetcher, picture

HOST = "pictures.example"
HERE = ipaddress.IPv4Address("127.0.0.1")
INWARD_HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.0.0.1"),
    *(
        "127.0.0.1.",
        "0",
        "0x0",
        "00000",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
    ),
    *("10.0.0.1", "10.1", "0xa.1", "192.168.1", "255.255.255.255", "localhost", "LOCALHOST", "localhost."),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::7f00:1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b:1::a9fe:a9fe]", "[2002:7f00:1::]", "[2001:0:53aa:64c:0:0:80ff:fffe]", "[fec0::1]"),
    *("[fe80::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[2606:4700::5efe:a00:1]", "[100::1]"),
)
"""Each is allow-listed in its test, so that only the address can stop it."""
ODD_URLS = (
    *("https://user@{}/", "https://user:word@{}/", "https://:@{}/", "https://@{}/", "https://inside.example@{}/"),
    *("https://{}@inside.example/", "https://{}%40inside.example/", "https://{}\\@inside.example/", "https:\\\\{}/"),
    *("https://inside.example#@{}/", "https://inside.example?@{}/", "https:///{}/", "https:{}/", "//{}/", "{}"),
    *("https://{}:0/", "https://{}:/", "https://{}:65536/", "https://{}:-1/", "https://{}:4 43/", "https://{}:\uff14/"),
    *("https://{}../", "https://.{}/", "https://pictures..example/", "https://pictures.example\u3002/", "https://{} /"),
    *("https://{}\t/", "https://{}\n/", "https://{}\0/", "https://{}%00/", "https://{}%2f/", "https://{}\u200b/"),
    *(
        "https://p\u0456ctures.example/",
        "https://xn--pctures-p4f.example/",
        "https://\uff50ictures.exam\uff50le.evil.example/",
    ),
    *(
        "https://[::1%25lo]/",
        "https://[::1%lo]/",
        "https://[fe80::1%eth0]/",
        "https://[127.0.0.1]/",
        "https://[v1.a]/",
        "https://[]/",
    ),
    *(
        "HTTP://{}/",
        "http://{}/",
        "ftp://{}/",
        "gopher://{}/",
        "file:///etc/passwd",
        "data:image/png;base64,AA==",
        "jar:https://{}/!/",
    ),
    *(
        "https://\u2488.2.3.4/",
        "https://\u2460\u2461\u2466.0.0.1/",
        "https://\u0661\u0662\u0667.0.0.1/",
        "https://127\u30020\u30020\u30021/",
    ),
)


@pytest.mark.parametrize("host", INWARD_HOSTS)
async def test_an_allowed_host_that_is_an_inward_address_is_refused(storage: Stub, host: str) -> None:
    bare = host.strip("[]").lower().rstrip(".")
    async with fetcher(storage, bare, host) as sources:
        error = await failure(sources, f"https://{host}:{storage.port}/x.png")
    assert error.code in {"SOURCE_NOT_ALLOWED", "SOURCE_UNAVAILABLE"}
    assert "could not be reached" not in error.message, "it was asked"
    assert storage.asked == []


@pytest.mark.parametrize("form", ODD_URLS, ids=ascii)
async def test_odd_forms_of_a_url_are_refused_before_anyone_is_asked(
    storage: Stub, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = resolving(monkeypatch, lambda _: ["8.8.8.8"])
    async with fetcher(storage, HOST) as sources:
        error = await failure(sources, form.format(HOST))
    assert error.code == "SOURCE_NOT_ALLOWED"
    assert looked_up == []


@pytest.mark.parametrize("location", [f"https://{host}/x" for host in INWARD_HOSTS] + ["https://{}@x/", "//127.0.0.1/"])
async def test_a_redirect_inwards_is_refused(storage: Stub, location: str) -> None:
    storage.answers[OBJECT] = Answer(302, headers={"location": location})
    hosts = [host.strip("[]").rstrip(".") for host in INWARD_HOSTS] + list(INWARD_HOSTS)
    async with fetcher(storage, *hosts) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert error.code in {"SOURCE_NOT_ALLOWED", "SOURCE_UNAVAILABLE"}
    assert "could not be reached" not in error.message, "it was asked"
    assert len(storage.asked) == 1


def resolving(monkeypatch: pytest.MonkeyPatch, answers: Callable[[int], list[str]]) -> list[str]:
    """A DNS of the test: the addresses of a name by how often it was asked for. Gives the names that were asked for."""
    real = socket.getaddrinfo
    names: list[str] = []

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != HOST:
            return real(host, port, *arguments, **options)
        names.append(host)
        return [entry for text in answers(len(names) - 1) for entry in real(text, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


def only_here(address: Address) -> bool:
    return address == HERE


def sources_of(storage: Stub, client_tls: Any = None) -> SourceFetcher:
    return SourceFetcher([storage.url], [HOST], tls=client_tls, address_allowed=only_here, timeout_seconds=60)


async def test_a_name_is_looked_up_once_and_its_address_kept(
    storage: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public at the check, inward at the connection: the connection looks nothing up."""
    looked_up = resolving(monkeypatch, lambda time: ["127.0.0.1"] if time == 0 else ["127.0.0.9"])
    server_tls, client_tls = contexts(tmp_path, HOST)
    async with serve(server_tls) as shop:
        shop.answers["/x.png"] = Answer(body=picture())
        shop.answers["/again"] = Answer(302, headers={"location": f"https://{HOST}:{shop.port}/x.png"})
        sources = sources_of(storage, client_tls)
        source = await sources.fetch(f"https://{HOST}:{shop.port}/x.png", anyone)
        assert (source.data, looked_up) == (picture(), [HOST])
        looked_up.clear()
        error = await failure(sources, f"https://{HOST}:{shop.port}/again")
        await sources.aclose()
    assert (error.code, looked_up) == ("SOURCE_NOT_ALLOWED", [HOST, HOST])
    assert [asked.target for asked in shop.asked] == ["/x.png", "/again"]


@pytest.mark.parametrize("others", [["10.0.0.1"], ["127.0.0.9"], ["::1"], ["::ffff:10.0.0.1"], ["fe80::1"]])
@pytest.mark.parametrize("last", [True, False])
async def test_one_inward_address_among_public_ones_is_enough_to_refuse(
    storage: Stub, monkeypatch: pytest.MonkeyPatch, others: list[str], last: bool
) -> None:
    mixed = ["127.0.0.1", *others] if last else [*others, "127.0.0.1"]
    resolving(monkeypatch, lambda _: mixed)
    sources = sources_of(storage)
    error = await failure(sources, f"https://{HOST}:{storage.port}/x.png")
    await sources.aclose()
    assert (error.code, error.message) == ("SOURCE_NOT_ALLOWED", "sourceImageUrl must be on a public address")
    assert storage.asked == []


@pytest.mark.parametrize(
    "headers",
    [{"x-large": "x" * 1_000_000}, {f"x-{number}": "x" * 500 for number in range(2000)}],
    ids=["one header", "many headers"],
)
async def test_a_head_without_end_is_not_read(storage: Stub, headers: dict[str, str]) -> None:
    storage.answers[OBJECT] = Answer(headers=headers, body=picture())
    async with fetcher(storage) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert error.code == "SOURCE_UNAVAILABLE"


@pytest.mark.parametrize(
    "headers",
    [
        {"transfer-encoding": "chunked"},
        {"content-encoding": "gzip, gzip, br"},
        {"content-length": "-1"},
        {"content-length": "9" * 400},
        {"location": "https://" + "a" * 5000},
        {"retry-after": "9" * 400},
        {"content-type": "image/png\x0bx"},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [200, 302, 503])
async def test_heads_that_mean_harm_end_in_an_error_of_the_source(
    storage: Stub, headers: dict[str, str], status: int
) -> None:
    storage.answers[OBJECT] = Answer(status, b"\xff" * 40, headers)
    async with fetcher(storage) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert error.code.startswith("SOURCE_")
