"""Veo on Vertex, in express mode and in projects: submits, polls, models."""

import asyncio
import base64

from starlette.responses import JSONResponse, Response

from .credentials import EXPRESS_PROJECT, check_vertex_caller
from .errors import ApiError, Json, invalid
from .jsonfields import parse_object
from .models import Model, find_vertex_model
from .operations import Operation, Operations
from .pictures import check_picture
from .turns import Turn
from .video_call import (
    ON_VERTEX,
    VideoCall,
    filter_reason,
    operation_error,
    parse_video_call,
)

_RESPONSE_TYPE = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"
_EXPRESS_PARENT = f"projects/{EXPRESS_PROJECT}/locations/us-central1/"


async def predict_long_running(turn: Turn) -> Response:
    """Create an operation and start its film."""
    model = _model_of(turn)
    call = await asyncio.to_thread(_checked_call, await turn.body(), model)
    entry = await turn.begin(call.prompt)
    parent = f"{_parent_of(turn) or _EXPRESS_PARENT}publishers/google/"
    ask = {"samples": call.samples, "storage_uri": call.storage_uri}
    operation = await turn.create(call, entry, model=model.name, parent=parent, ask=ask)
    return await turn.finish(entry, JSONResponse({"name": operation.name}))


async def fetch_predict_operation(turn: Turn) -> Response:
    """Answer a poll, the finished film included."""
    _check_caller(turn)
    turn.exchange.model = turn.request.path_params["model"]
    name = parse_object(await turn.body()).get("operationName")
    resource = f"{_parent_of(turn) or _EXPRESS_PARENT}publishers/google/models/{turn.exchange.model}"
    if not isinstance(name, str) or name.rpartition("/operations/")[0] != resource:
        raise invalid(f"Invalid operation name for {resource}.", field="operation_name")
    operation = turn.emulator.operations.find(name)
    if operation is None:
        raise ApiError(404, f"The operation {name} does not exist.")
    turn.exchange.operation = operation.name
    entry = await turn.begin(operation.prompt)
    body = await asyncio.to_thread(_operation_body, turn.emulator.operations, operation)
    return await turn.finish(entry, JSONResponse(body))


async def get_model(turn: Turn) -> Response:
    """Answer with a PublisherModel resource."""
    name = f"publishers/google/models/{_model_of(turn).name}"
    return JSONResponse({"name": name, "versionId": "emulator", "launchStage": "GA"})


def _check_caller(turn: Turn) -> None:
    check_vertex_caller(turn.request, turn.emulator.config, turn.request.path_params.get("project"))


def _model_of(turn: Turn) -> Model:
    turn.exchange.model = turn.request.path_params["model"]
    _check_caller(turn)
    return find_vertex_model(turn.exchange.model, parent=_parent_of(turn), retired=turn.emulator.config.retired)


def _parent_of(turn: Turn) -> str:
    """Return ``projects/…/locations/…/`` as it stands in the path; nothing in express mode."""
    parameters = turn.request.path_params
    return "projects/{project}/locations/{location}/".format_map(parameters) if "project" in parameters else ""


def _checked_call(raw: bytes, model: Model) -> VideoCall:
    call = parse_video_call(raw, model, ON_VERTEX)
    if call.source is not None:
        check_picture(call.source)
    return call


def _operation_body(operations: Operations, operation: Operation) -> Json:
    body: Json = {"name": operation.name}
    if not operations.done(operation):
        return body
    body["done"] = True
    if error := operation_error(operation.outcome):
        return body | {"error": error}
    samples: int = operation.ask["samples"]
    if operation.outcome == "video":
        videos = [_video(operations, operation, number) for number in range(samples)]
        return body | {"response": {"@type": _RESPONSE_TYPE, "raiMediaFilteredCount": 0, "videos": videos}}
    if reason := filter_reason(operation.outcome):
        filtered = {"raiMediaFilteredCount": samples, "raiMediaFilteredReasons": [reason]}
        return body | {"response": {"@type": _RESPONSE_TYPE} | filtered}
    return body


def _video(operations: Operations, operation: Operation, number: int) -> Json:
    bucket: str | None = operation.ask["storage_uri"]
    if bucket is not None:
        uri = f"{bucket.rstrip('/')}/{operation.id}/sample_{number}.mp4"
        return {"gcsUri": uri, "mimeType": "video/mp4"}
    data = base64.b64encode(operations.path(operation).read_bytes()).decode("ascii")
    return {"bytesBase64Encoded": data, "mimeType": "video/mp4"}
