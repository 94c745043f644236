"""The wire shapes of each video route, so that one suite can ask all of them the same questions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from superstoryboard.providers.google.omni import Omni
from superstoryboard.providers.google.rest import Timeouts
from superstoryboard.providers.google.veo import VeoGemini
from superstoryboard.providers.google.veo_vertex import VeoVertex
from superstoryboard.providers.routes import OperationRoute
from tests.conformance.http_stub import Answer, Stub

KEY = "emulator-key"
FILE_URI = "https://generativelanguage.googleapis.com/v1beta/files/abc123:download?alt=media"
FILE_PATH = "/v1beta/files/abc123:download"
SAFETY = "This violates the usage guidelines. Support codes: 15236754"


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class VideoRoute:
    """Where a route submits, polls and downloads, and how its service says each thing."""

    name: str
    model: str
    make: Callable[[str, Timeouts], OperationRoute]
    submit_path: str
    operation: str
    poll_path: str
    download_path: str
    accepted: dict[str, Any]
    running: dict[str, Any]
    done: dict[str, Any]
    internal: dict[str, Any]
    invalid: dict[str, Any]
    refused: dict[str, Any]
    empty: dict[str, Any]
    without_address: dict[str, Any]
    in_download: Callable[[bytes], bytes]

    def holds(self, stub: Stub, video: bytes) -> None:
        """The operation is done and the video can be fetched."""
        done = self.in_download(video) if self.download_path == self.poll_path else encoded(self.done)
        stub.answers[self.poll_path] = Answer(body=done)
        stub.answers[self.download_path] = Answer(body=self.in_download(video))
        stub.answers["/v1beta/files/abc123"] = Answer(body=b'{"name":"files/abc123","state":"ACTIVE"}')


def _operation(name: str, **ending: Any) -> dict[str, Any]:
    return {"name": name, "done": True} | ending


def _interaction(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "v1_abc", "object": "interaction", "status": status} | fields


def output(*content: dict[str, Any]) -> list[dict[str, Any]]:
    given = {"type": "user_input", "content": [{"type": "video", "uri": "https://elsewhere/files/input"}]}
    return [given, {"type": "model_output", "content": list(content)}]


def inline(video: bytes) -> bytes:
    """Vertex: the bytes inside the operation, padding escaped as Google does."""
    data = base64.b64encode(video).decode().replace("=", "\\u003d").replace("/", "\\/")
    head = encoded({"name": VERTEX_NAME, "done": True, "response": {"raiMediaFilteredCount": 0}})[:-2]
    return head + b', "videos": [{"mimeType": "video/mp4", "bytesBase64Encoded": "' + data.encode() + b'"}]}}'


VERTEX_NAME = "projects/p/locations/us-central1/publishers/google/models/veo-3.1-fast-generate-001/operations/o1"
VERTEX_POLL = f"/v1beta1/{VERTEX_NAME.partition('/operations/')[0]}:fetchPredictOperation"
_VEO = "models/veo-3.1-fast-generate-preview"
_VEO_NAME = f"{_VEO}/operations/abc"
_INTERNAL = {"code": 13, "message": "internal"}
_INVALID = {"code": 3, "message": "bad frame"}

ROUTES = [
    VideoRoute(
        name="veo_gemini",
        model="veo-3.1-fast-generate-preview",
        make=lambda url, timeouts: VeoGemini(api_key=KEY, base_url=url, timeouts=timeouts),
        submit_path=f"/v1beta/{_VEO}:predictLongRunning",
        operation=_VEO_NAME,
        poll_path=f"/v1beta/{_VEO_NAME}",
        download_path=FILE_PATH,
        accepted={"name": _VEO_NAME},
        running={"name": _VEO_NAME},
        done=_operation(
            _VEO_NAME, response={"generateVideoResponse": {"generatedSamples": [{"video": {"uri": FILE_URI}}]}}
        ),
        internal=_operation(_VEO_NAME, error=_INTERNAL),
        invalid=_operation(_VEO_NAME, error=_INVALID),
        refused=_operation(
            _VEO_NAME,
            response={"generateVideoResponse": {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [SAFETY]}},
        ),
        empty=_operation(_VEO_NAME),
        without_address=_operation(_VEO_NAME, response={"generateVideoResponse": {"generatedSamples": [{}]}}),
        in_download=lambda video: video,
    ),
    VideoRoute(
        name="veo_vertex",
        model="veo-3.1-fast-generate-001",
        make=lambda url, timeouts: VeoVertex(api_key=KEY, base_url=url, timeouts=timeouts),
        submit_path="/v1beta1/publishers/google/models/veo-3.1-fast-generate-001:predictLongRunning",
        operation=VERTEX_NAME,
        poll_path=VERTEX_POLL,
        download_path=VERTEX_POLL,
        accepted={"name": VERTEX_NAME},
        running={"name": VERTEX_NAME},
        done=_operation(VERTEX_NAME, response={"videos": [{"bytesBase64Encoded": "AAAA", "mimeType": "video/mp4"}]}),
        internal=_operation(VERTEX_NAME, error=_INTERNAL),
        invalid=_operation(VERTEX_NAME, error=_INVALID),
        refused=_operation(
            VERTEX_NAME, response={"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [SAFETY], "videos": []}
        ),
        empty=_operation(VERTEX_NAME),
        without_address=_operation(VERTEX_NAME, response={"videos": [{"mimeType": "video/mp4"}]}),
        in_download=inline,
    ),
    VideoRoute(
        name="interactions",
        model="gemini-omni-1.1-flash",
        make=lambda url, timeouts: Omni(api_key=KEY, base_url=url, timeouts=timeouts),
        submit_path="/v1beta/interactions",
        operation="v1_abc",
        poll_path="/v1beta/interactions/v1_abc",
        download_path=FILE_PATH,
        accepted=_interaction("in_progress"),
        running=_interaction("queued"),
        done=_interaction("completed", steps=output({"type": "video", "mime_type": "video/mp4", "uri": FILE_URI})),
        internal=_interaction("failed", errors=[{"code": "https://errors/INTERNAL", "message": "internal"}]),
        invalid=_interaction("failed", errors=[{"code": "invalid_argument", "message": "bad frame"}]),
        refused=_interaction("failed", errors=[{"code": "invalid_argument", "message": SAFETY}]),
        empty=_interaction("completed", steps=output()),
        without_address=_interaction("completed", steps=output({"type": "video"})),
        in_download=lambda video: video,
    ),
]
