"""What Veo's two APIs have in common: the instance of a submit, the name, and how an operation ends."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from superstoryboard.jobs.errors import ProviderFailure
from superstoryboard.providers import errors
from superstoryboard.providers.rest import items, mapping
from superstoryboard.providers.video import VideoCall

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def instance(call: VideoCall) -> dict[str, Any]:
    """The prompt, and the first frame where there is one."""
    made: dict[str, Any] = {"prompt": call.prompt}
    if call.image is not None:
        encoded = base64.b64encode(call.image.data).decode("ascii")
        made["image"] = {"bytesBase64Encoded": encoded, "mimeType": call.image.media_type.value}
    return made


def parameters(call: VideoCall) -> dict[str, Any]:
    """Shape and length; absent fields keep the provider's defaults."""
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
        raise errors.unreadable_poll()
    return name


def ended(answer: object, *, secret: str) -> Mapping[str, Any] | None:
    """The `response` of an operation that is done; None while it runs.

    Raises:
        ProviderFailure: outcome UNKNOWN: the answer is no operation. UNPAID: it ended with an error.
    """
    if not isinstance(answer, Mapping) or not ("name" in answer or "done" in answer):
        raise errors.unreadable_poll()
    if answer.get("done") is not True:
        return None
    if answer.get("error"):
        raise errors.operation_failure(answer["error"], secret=secret)
    return mapping(answer.get("response"))


def without_video(result: Mapping[str, Any], *, secret: str) -> ProviderFailure:
    """Why an operation that is done holds no video: filtered, or nothing at all."""
    reasons = [reason for reason in items(result.get("raiMediaFilteredReasons")) if isinstance(reason, str)]
    if reasons or result.get("raiMediaFilteredCount"):
        return errors.filtered_video(reasons, secret=secret)
    return errors.empty_operation()
