"""What Veo's two APIs have in common: the instance of a submit, the name, and how an operation ends."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from superstoryboard.domain.errors import ProviderFailure
from superstoryboard.providers.answers import items
from superstoryboard.providers.google import results
from superstoryboard.providers.routes import Call

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")

_OPERATION_KEYS = frozenset({"name", "metadata", "done", "error", "response"})


def instance(call: Call) -> dict[str, Any]:
    """The prompt, and the first frame where there is one."""
    made: dict[str, Any] = {"prompt": call.prompt}
    for source in call.sources[:1]:
        encoded = base64.b64encode(source.data).decode("ascii")
        made["image"] = {"bytesBase64Encoded": encoded, "mimeType": source.media_type.value}
    return made


def parameters(call: Call) -> dict[str, Any]:
    """Shape and length."""
    return {
        "aspectRatio": call.aspect_ratio,
        "durationSeconds": call.duration_seconds,
        "resolution": call.resolution,
    }


def checked_name(name: str) -> str:
    """An operation's name that is a plain path, so that it cannot lead elsewhere.

    Raises:
        ProviderFailure: outcome UNKNOWN: it is none.
    """
    if not _PATH.fullmatch(name):
        raise results.unreadable_poll()
    return name


def ended(answer: object, *, secret: str) -> Mapping[str, Any] | None:
    """The `response` of an operation that is done; None while it runs.

    Raises:
        ProviderFailure: outcome UNKNOWN: the answer is no operation. UNPAID: it ended with an error, or with nothing at
            all. PAID: it ended with something that is not known here.
    """
    if not isinstance(answer, Mapping) or not isinstance(answer.get("done", False), bool):
        raise results.unreadable_poll()
    if "name" not in answer and "done" not in answer:
        raise results.unreadable_poll()
    if not answer.get("done"):
        return None
    error, response = answer.get("error"), answer.get("response")
    if error is not None:
        raise results.operation_failure(error, secret=secret)
    if response is None and answer.keys() <= _OPERATION_KEYS:
        raise results.empty_operation()
    if not isinstance(response, Mapping):
        raise results.unknown_result(answer, secret=secret)
    return response


def without_video(result: Mapping[str, Any], answer: object, *, secret: str) -> ProviderFailure:
    """Why an operation that is done holds no video: it was filtered, or nobody can say."""
    reasons = [reason for reason in items(result.get("raiMediaFilteredReasons")) if isinstance(reason, str)]
    count = result.get("raiMediaFilteredCount")
    if reasons or (isinstance(count, int) and count > 0):
        return results.filtered_video(reasons, secret=secret)
    return results.unknown_result(answer, secret=secret)
