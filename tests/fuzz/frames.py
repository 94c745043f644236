"""Raw bytes on the gRPC port: frames, heads and message framing that no client of gRPC would send."""

from __future__ import annotations

import base64
import random
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.fuzz.tally import CORE, Tally
from tests.running import ALICE, SERVICE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
AT_ONCE = 8
ANSWER_SECONDS = 60.0
"""After which a call that has ended on our side was forgotten by the server."""
UNEXPECTED = "Unexpected <"
"""How gRPC begins the message of an exception that a handler let escape."""
NAMES = {str(code.value[0]): code.name for code in grpc.StatusCode}
Head = list[tuple[bytes, bytes]]
PATHS = (
    *(b"/superstoryboard.v1.GenerationService/ListJobs", b"/superstoryboard.v1.GenerationService/CreateImageJob"),
    *(b"/superstoryboard.v1.GenerationService/BatchCreateJobs", b"/superstoryboard.v1.QueueService/ListQueues"),
    *(b"/grpc.health.v1.Health/Check", b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
)
ODD_PATHS = (
    b"/",
    b"",
    b"*",
    b"/superstoryboard.v1.GenerationService/",
    b"/x" * 3000,
    b"/\xff\xfe",
    b"/a/b/c?d#e",
    b"/%00/x",
)
TYPES = (
    *(b"application/grpc", b"application/grpc+proto", b"application/grpc+json", b"application/grpc-web", b""),
    *(b"text/html", b"application/json", b"application/grpc;charset=\xff", b"x" * 9000),
)
NEWCOMERS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"grpc-timeout", (b"0n", b"1S", b"-1S", b"99999999999H", b"x", b"1", b"1n", b"")),
    (b"grpc-encoding", (b"gzip", b"deflate", b"identity", b"br", b"\xff", b"x" * 2000)),
    (b"grpc-accept-encoding", (b"gzip", b"x" * 5000, b",,,,")),
    (
        b"authorization",
        (b"Bearer", b"Bearer ", b"Basic eDp4", b"Bearer x.y.z", b"Bearer " + b"a" * 12_000, b"\xff\xfe"),
    ),
    (b"authorization", (b"Bearer eyJhbGciOiJub25lIn0.e30.", b"Bearer ..", b"bearer\tx", b"Bearer " + b"." * 9000)),
    (b"traceparent", (b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"\xff" * 55, b"x", b"00-" + b"a" * 5000)),
    (b"x-odd-bin", (b"!!!", b"A", b"AAAA", b"=" * 100)),
    (b"te", (b"gzip", b"trailers, deflate")),
    (b"grpc-status", (b"0", b"13")),
    (b"connection", (b"close",)),
    (b"X-Upper", (b"1",)),
    (b":method", (b"GET",)),
    (b":odd", (b"1",)),
    (b"content-length", (b"-1", b"5", b"99999999999999999999")),
    (b"x-large", (b"x" * 15_000, b"x" * 20_000, b"x" * 60_000)),
    (b"x\0y", (b"\r\n", b"a\0b")),
)


@dataclass(frozen=True)
class Wire:
    """Bytes to send, and whether they end a call in a way that has an answer."""

    kind: str
    sent: bytes
    answered: bool


def fuzz_frames(address: str, part: str, seed: int, count: int, tally: Tally) -> None:
    """Send `count` inputs, each on a connection of its own."""

    def sender(number: int) -> None:
        chance = random.Random(f"{seed} {part} {number}")
        for _ in range(number, count, AT_ONCE):
            wire = chance.choice(KINDS)(chance)
            tally.ended(f"wire of {part}", wire.kind, ending(address, wire, tally), wire.sent[:120])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(sender, number) for number in range(AT_ONCE)]:
            done.result()


def _junk(chance: random.Random) -> Wire:
    start = chance.choice((b"", PREFACE, PREFACE[:10], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x02\0\1"))
    return Wire("bytes that are no frames", start + chance.randbytes(chance.randrange(400)), answered=False)


def _frame(chance: random.Random) -> bytes:
    payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 9, 40, 300)))
    length = len(payload) if chance.random() < 0.8 else chance.choice((0, 1, 2**14, 2**24 - 1))
    head = struct.pack(">I", length)[1:] + bytes((chance.choice((*range(10), 255)), chance.randrange(256)))
    return head + struct.pack(">I", chance.choice((0, 0, 1, 1, 2, 3, 2**31 - 1, 2**32 - 1))) + payload


def _frames(chance: random.Random) -> Wire:
    frames = b"".join(_frame(chance) for _ in range(chance.randrange(1, 30)))
    return Wire("frames of any sort", PREFACE + SETTINGS + frames, answered=False)


def _damaged(chance: random.Random) -> Wire:
    sent = bytearray(call_of(_head(chance), message_of(b"")))
    for _ in range(chance.randrange(1, 4)):
        sent[chance.randrange(len(PREFACE), len(sent))] = chance.randrange(256)
    return Wire("a call with changed bytes", bytes(sent), answered=False)


def _cut(chance: random.Random) -> Wire:
    whole = call_of(_head(chance), message_of(chance.randbytes(50)))
    return Wire("a call that is cut off", whole[: chance.randrange(len(PREFACE), len(whole))], answered=False)


def _odd_head(chance: random.Random) -> Wire:
    head = _head(chance)
    for _ in range(chance.randrange(1, 4)):
        name, values = chance.choice(NEWCOMERS)
        head.insert(chance.randrange(len(head) + 1), (name, chance.choice(values)))
    if chance.random() < 0.4:
        name = chance.choice((b":path", b"content-type"))
        value = chance.choice(ODD_PATHS if name == b":path" else TYPES)
        head = [(key, value if key == name else old) for key, old in head]
    if chance.random() < 0.2:
        head.pop(chance.randrange(len(head)))
    return Wire("an odd head", call_of(head, message_of(b"")), answered=True)


def _odd_message(chance: random.Random) -> Wire:
    body = chance.randbytes(chance.choice((0, 1, 5, 60, 2000)))
    size = chance.choice((len(body), len(body) + 1, max(0, len(body) - 1), 0, 2**20, 2**24, 2**31, 2**32 - 1))
    flag = chance.choice((0, 0, 1, 2, 255))
    several = b"".join(message_of(chance.randbytes(9)) for _ in range(chance.randrange(4)))
    framed = chance.choice((bytes((flag,)) + struct.pack(">I", size) + body, several, b"\0\0\0", b"", several + b"\0"))
    head = _head(chance)
    if chance.random() < 0.5:
        head.append((b"grpc-encoding", chance.choice((b"gzip", b"deflate", b"identity"))))
    return Wire("an odd message", call_of(head, framed), answered=True)


KINDS: tuple[Callable[[random.Random], Wire], ...] = (_junk, _frames, _damaged, _cut, _odd_head, _odd_message)


def _head(chance: random.Random) -> Head:
    caller = chance.choice(((), ALICE, SERVICE))
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", chance.choice(PATHS)),
        (b":authority", b"fuzz"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *((str(key).encode(), str(value).encode()) for key, value in caller),
    ]


def message_of(body: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(body)) + body


def call_of(head: Head, body: bytes) -> bytes:
    """A whole call: preface, settings, head in as many frames as it needs, body, end."""
    wire = h2.connection.H2Connection(
        h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    )
    wire.initiate_connection()
    try:
        wire.send_headers(1, head)
        wire.send_data(1, body, end_stream=True)
    except (h2.exceptions.ProtocolError, ValueError):  # h2 refuses to write it; the frames so far are odd enough
        return wire.data_to_send() + SETTINGS
    return wire.data_to_send()


def ending(address: str, wire: Wire, tally: Tally) -> str:
    """How a connection with this input ends: a status, or what gRPC's core did."""
    host, _, port = address.rpartition(":")
    try:
        peer = socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS)
    except OSError:  # it listens no more
        return "NO ANSWER"
    with peer:
        try:
            peer.sendall(wire.sent)
            if not wire.answered:
                peer.shutdown(socket.SHUT_WR)
            return _read(peer, tally, whole=not wire.answered)
        except TimeoutError:
            return "NO ANSWER"
        except OSError:
            return "closed" + CORE


def _read(peer: socket.socket, tally: Tally, *, whole: bool) -> str:
    """The ending of call 1, or that the connection was closed; of `whole` connections all is read first."""
    reader = h2.connection.H2Connection(h2.config.H2Configuration(validate_inbound_headers=False))
    reader.initiate_connection()
    reader.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
    reader.data_to_send()
    ending = ""
    while chunk := peer.recv(65_536):
        try:
            events = reader.receive_data(chunk)
        except (h2.exceptions.ProtocolError, ValueError):
            return ending or "broken off" + CORE
        for event in events:
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                ending = _status(dict(_texts(event.headers or ())), tally) or ending
            if isinstance(event, h2.events.StreamReset):
                ending = ending or "reset" + CORE
            ended = isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated)
            if ended and not whole:
                return ending or "closed" + CORE
    return ending or "closed" + CORE


def _texts(headers: object) -> list[tuple[str, str]]:
    pairs: list[tuple[bytes | str, bytes | str]] = list(headers)  # type: ignore[call-overload]
    return [
        tuple(text if isinstance(text, str) else text.decode("latin-1") for text in pair)  # type: ignore[misc]
        for pair in pairs
    ]


def _status(headers: dict[str, str], tally: Tally) -> str:
    """The ending that a head names: ours has details or is of a handler, gRPC's own has none."""
    if "grpc-status" not in headers:
        status = headers.get(":status", "")
        return f"HTTP {status}{CORE}" if status not in ("", "200") else ""
    details = headers.get("grpc-status-details-bin", "")
    message = unquote(headers.get("grpc-message", ""))
    tally.shown("an answer on the wire", message + base64.b64decode(details + "===").decode("latin-1"))
    name = NAMES.get(headers["grpc-status"], headers["grpc-status"])
    ours = name == "OK" or bool(details) or message.startswith(UNEXPECTED)
    return name if ours else name + CORE
