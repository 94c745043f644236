"""The Gemini API: pictures, films of Veo, files, models."""

import asyncio
import hashlib
import time

from starlette.responses import FileResponse, JSONResponse, Response

from .credentials import check_key
from .errors import ApiError, Json, file_not_visible
from .image_call import ImageCall, image_body, parse_image_call, refusal_body
from .models import Model, describe_model, find_model
from .operations import Operation, Operations
from .pictures import check_picture
from .turns import Turn
from .video_call import VideoCall, finished_body, parse_video_call


async def generate_content(turn: Turn) -> Response:
    """Answer with a picture, or with the refusal a script asks for."""
    started = time.monotonic()
    model = _model_of(turn, "generateContent")
    call = await asyncio.to_thread(_checked_image_call, await turn.body(), model)
    entry = await turn.begin(call.prompt)
    turn.exchange.refusal = entry.image_refusal()
    await turn.accept()
    response, turn.exchange.sha256 = await asyncio.to_thread(_image_answer, call, model.name, turn.exchange.refusal)
    await asyncio.sleep(max(0.0, started + turn.emulator.config.image_seconds - time.monotonic()))
    return await turn.finish(entry, response)


async def predict_long_running(turn: Turn) -> Response:
    """Create an operation and start its film."""
    model = _model_of(turn, "predictLongRunning")
    call = await asyncio.to_thread(_checked_video_call, await turn.body(), model)
    entry = await turn.begin(call.prompt)
    turn.exchange.webhook = call.webhook
    operation = await turn.create(call, entry, model=model.name, ask={"webhook": call.webhook})
    return await turn.finish(entry, JSONResponse({"name": operation.name}))


async def get_operation(turn: Turn) -> Response:
    """Answer a poll."""
    check_key(turn.request, turn.emulator.config)
    parameters = turn.request.path_params
    turn.exchange.model = parameters["model"]
    operation = turn.emulator.operations.find("models/{model}/operations/{operation}".format_map(parameters))
    if operation is None:
        raise ApiError(404, "Requested entity was not found.")
    turn.exchange.operation = operation.name
    entry = await turn.begin(operation.prompt)
    body = await asyncio.to_thread(operation_body, turn.emulator.operations, operation)
    return await turn.finish(entry, JSONResponse(body))


async def download_file(turn: Turn) -> Response:
    """Send a film, or the range of it that is asked for."""
    operation = _operation_of_file(turn)
    entry = await turn.begin(operation.prompt)
    if not await asyncio.to_thread(turn.emulator.operations.active, operation):
        raise ApiError(400, "The File is not in an ACTIVE state.", status="FAILED_PRECONDITION")
    path = turn.emulator.operations.path(operation)
    turn.exchange.sha256 = hashlib.sha256(await asyncio.to_thread(path.read_bytes)).hexdigest()
    return await turn.finish(entry, FileResponse(path, media_type="video/mp4"))


async def get_file(turn: Turn) -> Response:
    """Answer with the File resource of a film."""
    operation = _operation_of_file(turn)
    entry = await turn.begin(operation.prompt)
    body = await asyncio.to_thread(turn.emulator.operations.file_body, operation)
    return await turn.finish(entry, JSONResponse(body))


async def get_model(turn: Turn) -> Response:
    """Answer with a Model resource."""
    version = check_key(turn.request, turn.emulator.config)
    name: str = turn.request.path_params["model"]
    turn.exchange.model = name
    return JSONResponse(describe_model(name, version=version, retired=turn.emulator.config.retired))


def _model_of(turn: Turn, method: str) -> Model:
    turn.exchange.model = turn.request.path_params["model"]
    version = check_key(turn.request, turn.emulator.config)
    retired = turn.emulator.config.retired
    return find_model(turn.exchange.model, version=version, method=method, retired=retired)


def _operation_of_file(turn: Turn) -> Operation:
    check_key(turn.request, turn.emulator.config)
    file_id: str = turn.request.path_params["file"]
    operation = turn.emulator.operations.find_file(file_id)
    if operation is None:
        raise file_not_visible(file_id)
    turn.exchange.model, turn.exchange.operation = operation.model, operation.name
    return operation


def _checked_image_call(raw: bytes, model: Model) -> ImageCall:
    call = parse_image_call(raw, model)
    for source in call.sources:
        check_picture(source)
    return call


def _checked_video_call(raw: bytes, model: Model) -> VideoCall:
    call = parse_video_call(raw, model)
    if call.source is not None:
        check_picture(call.source)
    return call


def operation_body(operations: Operations, operation: Operation) -> Json:
    """Return an operation of the Gemini API as a poll shows it."""
    if not operations.done(operation):
        return {"name": operation.name}
    return finished_body(operation.name, operation.outcome, operation.file_id)


def _image_answer(call: ImageCall, model: str, refusal: str | None) -> tuple[Response, str | None]:
    """The answer, and the hash of its picture where it has one."""
    if refusal is not None:
        return JSONResponse(refusal_body(call, model, refusal)), None
    if not call.with_image:
        return JSONResponse(image_body(call, model, None)), None
    png = _draw(call)
    return JSONResponse(image_body(call, model, png)), hashlib.sha256(png).hexdigest()


def _draw(call: ImageCall) -> bytes:
    from . import painting  # noqa: PLC0415 - an idle server stays small

    sources = [painting.open_picture(source) for source in call.sources]
    if call.size is None:
        return painting.encode_png(painting.edit_picture(sources[0], call.prompt))
    if sources:
        return painting.encode_png(painting.compose_references(sources, call.prompt, call.size))
    return painting.encode_png(painting.paint_picture(call.prompt, call.size))
