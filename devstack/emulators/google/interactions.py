"""Gemini Omni by the Interactions API: create, get, cancel, delete."""

import asyncio
import base64
import re
import time
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from .credentials import check_interactions_key
from .errors import ApiError, Json, invalid
from .interaction_call import InteractionCall, parse_interaction_call
from .jsonfields import parse_object
from .models import Model, find_model
from .operations import Operation
from .pictures import check_picture
from .turns import Emulator, Turn
from .video_call import FILMED, checked_webhook, file_uri, filter_reason, operation_error

_ID = re.compile(r"v1_[A-Za-z0-9_-]+")
_RPC_WORDS = {
    3: "invalid_request",
    4: "deadline_exceeded",
    5: "not_found",
    7: "permission_denied",
    8: "rate_limit_exceeded",
    9: "failed_precondition",
    13: "api_error",
    14: "service_unavailable",
}
_TOKENS_PER_SECOND = {"360p": 2896, "720p": 5792, "1080p": 8688, "4k": 17376}
_REFUSAL = "I can't make that video. Would you like me to describe the scene instead?"


async def create_interaction(turn: Turn) -> Response:
    """Begin a film; without ``background`` the answer comes when it is done."""
    version = check_interactions_key(turn.request, turn.emulator.config)
    body = await asyncio.to_thread(parse_object, await turn.body())
    name = body.get("model")
    if not isinstance(name, str):
        raise invalid("'model' is required.")
    turn.exchange.model = name
    model = find_model(name, version=version, method="interactions", retired=turn.emulator.config.retired)
    call = await asyncio.to_thread(_checked_call, body, model)
    turn.exchange.webhook = checked_webhook(body.get("webhook_config"), "user_metadata")
    entry = await turn.begin(call.film.prompt)
    ask = {"inline": call.inline, "background": call.background, "store": call.store}
    operation = await turn.create(call.film, entry, model=name, ask=ask)
    if not call.background:
        operation = await turn.emulator.operations.ended(operation)
    answer = await asyncio.to_thread(_interaction_body, turn.emulator, operation)
    return await turn.finish(entry, JSONResponse(answer))


async def get_interaction(turn: Turn) -> Response:
    """Answer a poll."""
    operation = _operation_of(turn)
    if turn.request.query_params.get("stream") == "true":
        raise ApiError(501, "The emulator does not stream interactions.")
    entry = await turn.begin(operation.prompt)
    body = await asyncio.to_thread(_interaction_body, turn.emulator, operation)
    return await turn.finish(entry, JSONResponse(body))


async def cancel_interaction(turn: Turn) -> Response:
    """End an interaction in the background that has not ended yet; what it cost stays paid."""
    operation = _operation_of(turn)
    entry = await turn.begin(operation.prompt)
    operations = turn.emulator.operations
    if not operation.ask["background"] or await asyncio.to_thread(operations.done, operation):
        message = "Only interactions in the background that are still running can be cancelled."
        raise ApiError(400, message, word="failed_precondition")
    cancelled = await operations.cancel(operation)
    body = await asyncio.to_thread(_interaction_body, turn.emulator, cancelled)
    return await turn.finish(entry, JSONResponse(body))


async def delete_interaction(turn: Turn) -> Response:
    """Forget an interaction; the file of its film stays."""
    operation = _operation_of(turn)
    entry = await turn.begin(operation.prompt)
    await asyncio.to_thread(turn.emulator.operations.forget, operation)
    return await turn.finish(entry, JSONResponse({}))


def _checked_call(body: Json, model: Model) -> InteractionCall:
    call = parse_interaction_call(body, model)
    if call.film.source is not None:
        check_picture(call.film.source)
    return call


def _operation_of(turn: Turn) -> Operation:
    check_interactions_key(turn.request, turn.emulator.config)
    name: str = turn.request.path_params["interaction"]
    if not _ID.fullmatch(name):
        raise invalid(f"Invalid interaction name: interactions/{name}")
    operation = turn.emulator.operations.find(name)
    if operation is None or not operation.ask["store"]:
        raise ApiError(404, f"Interaction {name} not found.")
    turn.exchange.model, turn.exchange.operation = operation.model, operation.name
    return operation


def _interaction_body(emulator: Emulator, operation: Operation) -> Json:
    done = emulator.operations.done(operation)
    body: Json = {
        "id": operation.id,
        "object": "interaction",
        "model": operation.model,
        "status": "queued" if time.time() < operation.begins_at else "in_progress",
        "created": _timestamp(operation.accepted_at),
        "updated": _timestamp(operation.due_at if done else max(operation.accepted_at, operation.begins_at)),
    }
    return body | _ended(emulator, operation) if done else body


def _ended(emulator: Emulator, operation: Operation) -> Json:
    """Return what the end of an interaction adds to its body."""
    outcome = operation.outcome
    if error := operation_error(outcome):
        word = _RPC_WORDS.get(error["code"], "api_error")
        return {"status": "failed", "steps": [], "errors": [{"code": word, "message": error["message"]}]}
    if reason := filter_reason(outcome):
        return {"status": "failed", "steps": [], "errors": [{"code": "safety", "message": reason}]}
    if outcome == "cancelled" or outcome.startswith("status:"):
        return {"status": outcome.rpartition(":")[2], "steps": []}
    content: list[Json] = []
    made = 0
    if outcome in FILMED:
        content.append(_video(emulator, operation))
        made = operation.duration_seconds * _TOKENS_PER_SECOND[operation.resolution]
    elif outcome == "no_video_text":
        content.append({"type": "text", "text": _REFUSAL})
    steps = [{"type": "model_output", "content": content}] if content else []
    return {"status": "completed", "steps": steps, "usage": _usage(operation, made)}


def _video(emulator: Emulator, operation: Operation) -> Json:
    video: Json = {"type": "video", "mime_type": "video/mp4"}
    path = emulator.operations.path(operation)
    inline = operation.ask["inline"] and operation.outcome == "video"
    if inline and path.stat().st_size <= emulator.config.inline_bytes:
        return video | {"data": base64.b64encode(path.read_bytes()).decode("ascii")}
    return video | {"uri": file_uri(operation.file_id)}


def _usage(operation: Operation, made: int) -> Json:
    asked = max(1, len(operation.prompt) // 4) + (258 if operation.source else 0)
    usage: Json = {"total_input_tokens": asked, "total_output_tokens": made, "total_tokens": asked + made}
    if made:
        usage["output_tokens_by_modality"] = [{"modality": "video", "tokens": made}]
    return usage


def _timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
