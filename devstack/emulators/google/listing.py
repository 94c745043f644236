"""Lists of the Gemini API: the operations of a model, and the files that were generated."""

import asyncio
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from .credentials import check_key
from .errors import ApiError, Json, invalid
from .handlers import operation_body
from .operations import Operation
from .turns import Turn

_MOST = 100
_METADATA_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningMetadata"


async def list_operations(turn: Turn) -> Response:
    """Answer with one page of a model's operations, newest first."""
    turn.exchange.model = turn.request.path_params["model"]
    begun = [each for each in await _listed(turn) if each.model == turn.exchange.model]
    entry = await turn.begin("")
    page, onwards = _page(turn, begun)
    bodies = await asyncio.to_thread(lambda: [_entry(turn, each) for each in page])
    return await turn.finish(entry, JSONResponse({"operations": bodies} | onwards))


async def list_generated_files(turn: Turn) -> Response:
    """Answer with one page of generated files, newest first."""
    begun = await _listed(turn)
    entry = await turn.begin("")
    page, onwards = _page(turn, begun)
    files = await asyncio.to_thread(lambda: [_file(turn, each) for each in page])
    return await turn.finish(entry, JSONResponse({"generatedFiles": files} | onwards))


async def _listed(turn: Turn) -> list[Operation]:
    check_key(turn.request, turn.emulator.config)
    if not turn.emulator.config.listing:
        raise ApiError(501, "Operation is not implemented, or supported, or enabled.")
    kept = turn.emulator.operations.accepted_after(0.0)
    return sorted((each for each in kept if each.surface == "gemini"), key=lambda each: -each.accepted_at)


def _page(turn: Turn, begun: list[Operation]) -> tuple[list[Operation], Json]:
    size, token = turn.request.query_params.get("pageSize", "0"), turn.request.query_params.get("pageToken", "0")
    if not (size.isdecimal() and token.isdecimal()):
        raise invalid("`pageSize` or `pageToken` is not valid.")
    start, most = int(token), min(int(size) or _MOST, _MOST)
    more = {"nextPageToken": str(start + most)} if len(begun) > start + most else {}
    return begun[start : start + most], more


def _entry(turn: Turn, operation: Operation) -> Json:
    metadata: Json = {
        "@type": _METADATA_TYPE,
        "createTime": datetime.fromtimestamp(operation.accepted_at, UTC).isoformat().replace("+00:00", "Z"),
        "prompt": operation.prompt,
        "parameters": {
            "aspectRatio": operation.aspect_ratio,
            "durationSeconds": operation.duration_seconds,
            "resolution": operation.resolution,
        },
    }
    webhook = operation.ask.get("webhook") or {}
    if webhook.get("userMetadata"):
        metadata["userMetadata"] = webhook["userMetadata"]
    return operation_body(turn.emulator.operations, operation) | {"metadata": metadata}


def _file(turn: Turn, operation: Operation) -> Json:
    state = "GENERATED" if turn.emulator.operations.active(operation) else "GENERATING"
    return {"name": f"generatedFiles/{operation.file_id}", "mimeType": "video/mp4", "state": state}
