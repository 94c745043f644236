"""Odd requests for any RPC, made from its descriptor: the values that have broken servers, and bytes that are none."""

from __future__ import annotations

import base64
import json
import random
import struct
from typing import Any
from uuid import uuid4

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fuzz.planted import PROMPT, SIGNED

TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\u202e",
        "\N{SNOWMAN}",
        "\U0010ffff",
        "a\n",
        "..",
        "a/b",
        "%s%n",
        "'; --",
        "\\",
    ),
    *(
        "x" * 128,
        "x" * 129,
        "x" * 600,
        "x" * 40_000,
        "\N{SNOWMAN}" * 3000,
        "9" * 5000,
        "1e100000",
        "null",
        "{",
        "[" * 5000,
    ),
    *("board", "scene-1", "a fox", "16:9", "9:16", "7:5", "4", "8", "8.0", "-8", "720p", "1080p"),
    *("image_generation_queue", "video_generation_queue", "a_image_generation_queue"),
    *("veo-3.1-fast-generate-preview", "gemini-2.5-flash-image-preview", "models/../x"),
    *(
        "https://[::1",
        "https://xn--a/",
        "https://\N{LATIN SMALL LETTER E WITH ACUTE}.jp/",
        "https://a:99999/",
        "https://",
    ),
    *("https://\N{ROMAN NUMERAL EIGHT}.com/", "http://169.254.169.254/", "https://example.com/a.png", "file:///x"),
    *("00000000-0000-0000-0000-000000000000", "{00000000000000000000000000000000}", "urn:uuid:x", "0" * 32),
)
SECONDS = (
    0,
    1,
    -1,
    -62_135_596_801,
    -62_135_596_800,
    253_402_300_799,
    253_402_300_800,
    4_000_000_000,
    2**63 - 1,
    -(2**63),
)
NANOS = (0, 1, -1, 999_999_999, 1_000_000_000, 2**31 - 1, -(2**31))
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (0, 1, 2, 100, 101, 1000, 1001, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**53, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 3, 99, -1, 2**31 - 1),
}
PAGE_TOKENS = (
    json.dumps(["2026-01-01T00:00:00+00:00", str(uuid4())]).encode(),
    json.dumps(["0001-01-01T00:00:00+23:59", str(uuid4())]).encode(),
    b"[" * 380,
    b"[" + b"9" * 380,
    struct.pack(">q16s", -(2**63), b""),
    struct.pack(">q16s", 2**63 - 1, b"\xff" * 16),
    struct.pack(">q16s", 0, b"\0" * 16),
    b"\xff" * 24,
)
GOOD = {
    "storyboard_id": "board",
    "scene_id": "scene-1",
    "character_id": "c",
    "prompt": PROMPT,
    "source_image_url": SIGNED,
}
MOST_ITEMS = 4
BAD_BYTES_SHARE = 0.1


class Fuzzer:
    """Makes requests; the same seed makes the same ones. `ids` are jobs that exist, which some requests name."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self.ids: list[str] = []

    def request(self, method: MethodDescriptor) -> bytes:
        """Bytes for a method: mostly a message of odd values, sometimes one that was damaged."""
        raw = self._message(method.input_type).SerializeToString()
        if self._random.random() >= BAD_BYTES_SHARE:
            return raw
        damaged = bytearray(raw + self._random.randbytes(8))
        damaged[self._random.randrange(len(damaged))] = self._random.randrange(256)
        return bytes(damaged)

    def _message(self, descriptor: Descriptor) -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        if isinstance(message, Timestamp):
            message.seconds = self._random.choice(SECONDS)
            message.nanos = self._random.choice(NANOS)
            return message
        for field in descriptor.fields:
            if self._random.random() < 0.6:
                self._fill(message, field)
        return message

    def _fill(self, message: Any, field: FieldDescriptor) -> None:
        held = getattr(message, field.name)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            for _ in range(self._random.randrange(MOST_ITEMS)):
                held[self._text("")] = self._text("")
        elif field.is_repeated:
            for _ in range(self._random.randrange(MOST_ITEMS)):
                held.append(self._message(kind) if kind is not None else self._value(field))
        elif kind is not None:
            held.CopyFrom(self._message(kind))
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._text(field.name)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._random.random() < 0.5
        return self._random.choice(INTEGERS[field.cpp_type])

    def _text(self, name: str) -> str:
        if name == "page_token" and self._random.random() < 0.7:
            return base64.urlsafe_b64encode(self._random.choice(PAGE_TOKENS)).decode()
        if name.startswith("job_id") and self.ids and self._random.random() < 0.7:
            return self._random.choice(self.ids)
        good = GOOD.get(name)
        return good if good is not None and self._random.random() < 0.5 else self._random.choice(TEXTS)
