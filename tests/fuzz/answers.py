"""What providers, Storage and Auth may answer, or whoever stands before them: adapters in this process, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from superstoryboard.domain.errors import JobFailure
from superstoryboard.providers.google.gemini_images import GeminiImages
from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.providers.routes import Call
from superstoryboard.providers.source import SourceFetcher
from superstoryboard.providers.wording import hide_prompt
from superstoryboard.rpc.key_sources import KeyUrl
from superstoryboard.rpc.token_keys import KeySetError, parse_key_set
from superstoryboard.storage.errors import StorageError
from superstoryboard.storage.objects import ObjectStore
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.source_steps import anyone, picture
from tests.conformance.video_routes import KEY, ROUTES, VideoRoute
from tests.fuzz.planted import PROMPT
from tests.fuzz.tally import Tally
from tests.fuzz.values import encoded, mutated, values

Target = Callable[[], Awaitable[object]]
OBJECT = "/storage/v1/object/public/storyboard-images/a.png"
REFUSALS = (JobFailure, StorageError, KeySetError)
STATUSES = (
    200,
    200,
    200,
    200,
    201,
    204,
    206,
    301,
    302,
    307,
    400,
    400,
    401,
    403,
    404,
    409,
    413,
    429,
    500,
    502,
    503,
    504,
)
TYPES = ("application/json", "text/html", "image/png", "video/mp4", "application/json; charset=utf-32", "x", "")
HEADERS: tuple[dict[str, str], ...] = (
    *({"retry-after": text} for text in ("1", "-1", "x", "9" * 400, "Wed, 21 Oct 2199 07:28:00 GMT", "nan", "inf")),
    *(
        {"location": text}
        for text in ("/", "//x", "https://127.0.0.1/", "http://[::1", "file:///etc/passwd", "x" * 3000)
    ),
    *({"content-encoding": text} for text in ("gzip", "br", "identity", "x")),
    *({"x-goog-upload-status": "final"}, {"set-cookie": "a=b"}, {"x-large": "x" * 60_000}),
)
IMAGE: dict[str, Any] = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]},
            "finishReason": "STOP",
            "safetyRatings": [{"category": "HARM", "blocked": False}],
        }
    ],
    "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": f"no {PROMPT}"},
    "usageMetadata": {"totalTokenCount": 7},
}
REFUSED: dict[str, Any] = {
    "error": {
        "code": 429,
        "message": f"API key {KEY} of http://10.0.0.7:80/ has no quota",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"},
            {
                "@type": "x",
                "violations": [{"quotaId": "GenerateRequestsPerDay", "quotaValue": "10", "quotaMetric": "m"}],
            },
        ],
    }
}
ECHOED: dict[str, Any] = {
    "error": {"code": 400, "message": f"the prompt {PROMPT!r} with {KEY} is too long", "status": "INVALID_ARGUMENT"}
}
STORED: dict[str, Any] = {"Key": "b/a.png", "Id": "x", "name": "a.png", "size": 7, "metadata": {"size": 7, "eTag": "x"}}
BUCKET: dict[str, Any] = {
    "id": "b",
    "name": "b",
    "public": True,
    "file_size_limit": 7,
    "allowed_mime_types": ["image/png"],
}
STORAGE_ERROR: dict[str, Any] = {"statusCode": "404", "error": "not_found", "message": "Object not found", "code": "x"}
KEYS: dict[str, Any] = {
    "keys": [
        {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "use": "sig", "x": "A" * 43, "y": "A" * 43},
        {"kty": "RSA", "alg": "RS256", "kid": "b", "n": "AQAB" * 90, "e": "AQAB"},
        {"kty": "oct", "k": "AAAA", "kid": "c"},
    ]
}


class _Same(dict[str, Answer]):
    """One answer for every path."""

    def get(self, key: str, default: Any = None) -> Any:
        del key, default
        return self["any"]


class _Peer:
    """A server, and the adapters that ask it."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub, self.folder = stub, folder
        self.targets: list[tuple[str, Target, list[Any]]] = []

    async def open(self, stack: AsyncExitStack) -> None:
        url = self.stub.url
        images = GeminiImages(api_key=KEY, base_url=url)
        stack.push_async_callback(images.aclose)
        call = Call(model="gemini-nano-banana-2.1", prompt=PROMPT)
        self.targets.append(("image", lambda: images.generate(call, timeout_seconds=30), [IMAGE, REFUSED, ECHOED]))
        for route in ROUTES:
            await self._video(stack, route)
        store = await ObjectStore.connect(url=url, key=KEY, timeout_seconds=30)
        stack.push_async_callback(store.aclose)
        file = self.folder / "object"
        good = [STORED, STORAGE_ERROR]
        self.targets += [
            ("Storage upload", lambda: store.upload("b", "a.png", b"x", "image/png"), good),
            ("Storage download", lambda: store.download_to("b", "a.png", file, 5000), good),
            ("Storage stat", lambda: store.stat("b", "a.png"), good),
            ("Storage remove", lambda: store.remove("b", ["a.png"]), [[STORED], STORAGE_ERROR]),
            ("Storage bucket", lambda: store.ensure_bucket("b", public=True), [BUCKET, STORAGE_ERROR]),
            ("Storage rules", lambda: store.bucket_rules("b"), [BUCKET, STORAGE_ERROR]),
            ("Storage sign", lambda: store.signed_url("b", "a.png", 60), [{"signedURL": "/object/sign/b/a?token=x"}]),
        ]
        sources = SourceFetcher([url], timeout_seconds=30)
        stack.push_async_callback(sources.aclose)
        self.targets.append(("source image", lambda: sources.fetch(url + OBJECT, anyone), good))
        self.targets.append(("public keys", self._keys, [KEYS]))

    async def _keys(self) -> object:
        return parse_key_set(await KeyUrl(self.stub.url + "/auth/v1/.well-known/jwks.json").read())

    async def _video(self, stack: AsyncExitStack, route: VideoRoute) -> None:
        adapter = route.make(self.stub.url, Timeouts())
        stack.push_async_callback(adapter.aclose)
        call = Call(model=route.model, prompt=PROMPT, duration_seconds=4, mark={"job": "8"})
        location = self.stub.url + route.download_path if route.name != "veo_vertex" else route.operation
        listed = {"operations": [route.done, route.internal], "nextPageToken": ""}
        ends = [
            route.done,
            route.refused,
            route.internal,
            route.invalid,
            route.empty,
            route.without_address,
            REFUSED,
            ECHOED,
        ]
        film = self.folder / route.name
        self.targets += [
            (f"{route.name} submit", lambda: adapter.submit(call), [route.accepted, REFUSED, ECHOED]),
            (f"{route.name} poll", lambda: adapter.poll(route.operation), ends),
            (f"{route.name} list", lambda: adapter.recent(route.model), [listed, REFUSED]),
            (f"{route.name} download", lambda: adapter.download(location, film, 5000), ends),
        ]


async def fuzz_answers(seed: int, count: int, tally: Tally) -> None:
    """Have every adapter read `count` answers together."""
    odd = await asyncio.to_thread(values, seed, max(50, min(2000, count // 4)))
    chance = random.Random(seed)
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    hide_prompt(PROMPT)
    async with AsyncExitStack() as stack:
        stack.enter_context(folder)
        stub = await stack.enter_async_context(serve())
        peer = _Peer(stub, Path(folder.name))
        await peer.open(stack)
        for index in range(count):
            name, target, good = peer.targets[index % len(peer.targets)]
            answer = _answer(chance, good, odd)
            stub.answers = _Same(any=answer)
            stub.asked.clear()
            await _ask(name, target, answer, tally)


def _answer(chance: random.Random, good: list[Any], odd: list[Any]) -> Answer:
    form = chance.random()
    body = encoded(chance, mutated(chance, chance.choice(good), odd) if form < 0.75 else chance.choice(odd))
    if form > 0.9:
        body = chance.choice((chance.randbytes(chance.randrange(300)), picture()[: chance.randrange(80)], b""))
    elif chance.random() < 0.1:
        body = json.dumps({"data": base64.b64encode(chance.randbytes(4000)).decode()}).encode()
    headers = {"content-type": chance.choice(TYPES)} | (chance.choice(HEADERS) if chance.random() < 0.3 else {})
    length = chance.choice((None, None, None, None, None, None, len(body) + 5, 0, 10**12))
    return Answer(chance.choice(STATUSES), body, headers, length=length, cut=chance.random() < 0.02)


async def _ask(name: str, target: Target, answer: Answer, tally: Tally) -> None:
    ending = "OK"
    try:
        await target()
    except REFUSALS as error:
        told = error.error if isinstance(error, JobFailure) else None
        ending = told.code if told is not None else f"refused: {getattr(error, 'kind', 'no key set')}"
        tally.shown(f"the error of {name}", f"{error} {told}")
    except Exception as error:  # noqa: BLE001 - whatever no caller expects is what is looked for
        ending = "UNKNOWN"
        tally.failed(f"{name}: {type(error).__name__}: {error}"[:300])
    tally.ended("answers", name, str(ending), answer)
