"""Requests to ingest, and what its refusals say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from superstoryboard.v1 import job_pb2

LIMITS = {"GRPC_CALLS_PER_TOKEN": "16", "WATCHES_PER_OWNER": "3"}

UNLIMITED = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


def image(**changes: Any) -> job_pb2.ImageGeneration:
    return job_pb2.ImageGeneration(**({"storyboard_id": "board", "scene_id": "scene-1", "prompt": "a fox"} | changes))


def video(**changes: Any) -> job_pb2.VideoGeneration:
    return job_pb2.VideoGeneration(**({"storyboard_id": "board", "scene_id": "scene-1", "prompt": "a fox"} | changes))


def violations(error: grpc.RpcError) -> dict[str, str]:
    status = rpc_status.from_call(cast("grpc.Call", error))
    rules: dict[str, str] = {}
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            rules |= {item.field: item.description for item in bad.field_violations}
    return rules


def reason(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(cast("grpc.Call", error)).details:
        if detail.Unpack(info):
            assert info.domain == "superstoryboard"
            return str(info.reason)
    raise AssertionError("no ErrorInfo")


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value
