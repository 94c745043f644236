"""Heads of calls that mean harm: each is refused as what it is, shows no token, and stops nobody else's call."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest

from devstack.stack.ports import free_port
from superstoryboard.rpc.authentication import Authenticator, caller
from superstoryboard.rpc.claims import ClaimRules
from superstoryboard.rpc.jwts import JwtVerifier
from superstoryboard.rpc.server import Server
from superstoryboard.telemetry.metrics import RpcMetrics, new_registry
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    GenerationServiceStub,
    add_GenerationServiceServicer_to_server,
)
from tests.fuzz.frames import Head, Wire, call_of, ending, message_of
from tests.fuzz.tally import CORE, Tally
from tests.running import ALICE, BOB, SECRET, SERVICE

SERVICE_NAME = "superstoryboard.v1.GenerationService"
PATH = f"/{SERVICE_NAME}/ListJobs".encode()
TOKEN = str(ALICE[0][1]).removeprefix("Bearer ").encode()
KEY = b"authorization"


class Answers(GenerationServiceServicer):
    """Keeps who called."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def ListJobs(self, request: api.ListJobsRequest, context: object) -> api.ListJobsResponse:
        del request, context
        self.subjects.append(caller().subject)
        return api.ListJobsResponse()


@dataclass
class Served:
    """A server in this process that checks callers as ours do."""

    address: str
    answers: Answers
    tally: Tally

    async def ends(self, head: Head) -> str:
        """How a call with this head ends."""
        wire = Wire("", call_of(head, message_of(b"")), answered=True)
        return await asyncio.to_thread(ending, self.address, wire, self.tally)

    async def good_call(self) -> None:
        """Others are served as ever."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            await GenerationServiceStub(channel).ListJobs(api.ListJobsRequest(), metadata=ALICE, timeout=60)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    address, answers = f"127.0.0.1:{free_port()}", Answers()
    server = Server(address, Authenticator([JwtVerifier(ClaimRules(), SECRET)]), RpcMetrics(new_registry()))
    server.add(SERVICE_NAME, add_GenerationServiceServicer_to_server, answers)
    await server.start()
    yield Served(
        address, answers, Tally({"a token": TOKEN.decode(), "its signature": TOKEN.decode().rpartition(".")[2]})
    )
    await server.stop(0)


def head(*added: tuple[bytes, bytes], token: bytes | None = TOKEN, **changed: bytes) -> Head:
    """A head of a good call, with more behind it, or other values."""
    usual = {b":method": b"POST", b":scheme": b"http", b":path": PATH, b":authority": b"x"}
    usual |= {b"content-type": b"application/grpc", b"te": b"trailers"}
    usual |= {b":path": changed["path"]} if "path" in changed else {}
    return [*usual.items(), *([(KEY, b"Bearer " + token)] if token is not None else []), *added]


REFUSED, TAKEN, TOO_LARGE = "UNAUTHENTICATED", "OK", "RESOURCE_EXHAUSTED"
BROKEN, UNKNOWN = "INTERNAL" + CORE, "UNIMPLEMENTED" + CORE
SERVICE_TOKEN = str(SERVICE[0][1]).encode()
ATTACKS: dict[str, tuple[Head, str]] = {
    "the token twice": (head((KEY, b"Bearer " + TOKEN)), REFUSED),
    "another's token behind it": (head((KEY, str(BOB[0][1]).encode())), REFUSED),
    "a service's token behind it": (head((KEY, SERVICE_TOKEN)), REFUSED),
    "a service's token by a name in other letters": (head((b"Authorization", SERVICE_TOKEN)), BROKEN),
    "an empty token behind it": (head((KEY, b"")), REFUSED),
    "two tokens in one": (head(token=TOKEN + b", " + SERVICE_TOKEN), REFUSED),
    "a token in binary metadata": (
        head((b"authorization-bin", base64.b64encode(b"Bearer " + TOKEN)), token=None),
        REFUSED,
    ),
    "a token in binary metadata beside another": (head((b"authorization-bin", base64.b64encode(SERVICE_TOKEN))), TAKEN),
    "binary metadata that is none": (head((b"x-odd-bin", b"!!!")), BROKEN),
    "a byte that is no UTF-8 behind the token": (head(token=TOKEN + b"\xff"), REFUSED),
    "bytes that are no UTF-8 before it": (head(token=b"\xc3\x28" + TOKEN), REFUSED),
    "letters that look like it": (head(token="\u0435".encode() + TOKEN[1:]), REFUSED),
    "a NUL in it": (head(token=TOKEN[:20] + b"\0" + TOKEN[20:]), REFUSED),
    "a line break in it": (head(token=TOKEN + b"\r\nx-role: service_role"), REFUSED),
    "an escape sequence in it": (head(token=b"\x1b[2J" + TOKEN), REFUSED),
    "a token of 12 KB": (head(token=b"a" * 12_000), REFUSED),
    "a token of dots": (head(token=b"." * 9_000), REFUSED),
    "another scheme": (head((KEY, b"Basic " + TOKEN), token=None), REFUSED),
    "no scheme": (head((KEY, TOKEN), token=None), REFUSED),
    "no token": (head(token=None), REFUSED),
    "more names than may be": (head(*((f"x-{number}".encode(), b"1") for number in range(600))), TOO_LARGE),
    "a longer name than may be": (head((b"x" * 17_000, b"1")), TOO_LARGE),
    "a longer value than may be": (head((b"x-large", b"x" * 40_000)), TOO_LARGE),
    "a longer value, and no token": (head((b"x-large", b"x" * 40_000), token=None), TOO_LARGE),
    "names that are roles": (head((b"x-role", b"service_role"), (b"role", b"service_role"), (b"sub", b"bob")), TAKEN),
    "names that proxies trust": (head((b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-user", b"bob")), TAKEN),
    "to act for another": (head((b"on_behalf_of", b"bob")), "PERMISSION_DENIED"),
    "a trace that is none": (head((b"traceparent", b"\xff" * 55)), TAKEN),
    "a trace of 5 KB": (head((b"traceparent", b"00-" + b"a" * 5_000)), TAKEN),
    "a status": (head((b"grpc-status", b"0")), TAKEN),
    "a path of another host": (head(path=b"http://inside" + PATH), UNKNOWN),
    "a path with a query": (head(path=PATH + b"?x=1"), UNKNOWN),
    "a path with dots": (head(path=b"/x/.." + PATH), UNKNOWN),
    "a path in other letters": (head(path=PATH.lower()), UNKNOWN),
    "an escaped path": (head(path=PATH.replace(b"L", b"%4c")), UNKNOWN),
    "a path with two slashes": (head(path=b"/" + PATH), UNKNOWN),
    "a path that is no UTF-8": (head(path=PATH + b"\xff"), UNKNOWN),
    "a path of 6 KB": (head(path=b"/x" * 3_000), UNKNOWN),
    "no path": ([pair for pair in head() if pair[0] != b":path"], "reset" + CORE),
}
"""Head, and how its call ends. What is taken is taken as Alice's, whose token it has."""


async def test_heads_that_mean_harm_are_refused_and_stop_nobody(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (attack, expected) in ATTACKS.items():
        before = len(served.answers.subjects)
        end = await served.ends(attack)
        assert (name, end) == (name, expected)
        assert served.answers.subjects[before:] == (["alice"] if expected == TAKEN else []), name
        await served.good_call()
    captured = capsys.readouterr()
    served.tally.shown("the log", captured.out + captured.err)
    assert "Traceback" not in captured.out + captured.err
    assert served.tally.leaks == []
