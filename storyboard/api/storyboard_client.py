"""Calls about owners and members of storyboards."""

from __future__ import annotations

from storyboard.api.client import CALL_SECONDS, caller_metadata, connect
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import ingest_endpoint
from superstoryboard.v1 import generation_service_pb2 as generation
from superstoryboard.v1 import queue_service_pb2 as operators
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from superstoryboard.v1.storyboard_pb2 import Storyboard, StoryboardAccess


def get_storyboard(storyboard: str) -> Storyboard:
    """A storyboard as the caller sees it.

    Raises:
        CommandError: the call failed, as in every function here.
    """
    endpoint = ingest_endpoint()
    request = generation.GetStoryboardRequest(storyboard_id=storyboard)
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = GenerationServiceStub(channel)
        return stub.GetStoryboard(request, timeout=CALL_SECONDS, metadata=caller_metadata()).storyboard


def share_storyboard(storyboard: str, member: str, access: StoryboardAccess) -> Storyboard:
    """Let someone read or write a storyboard."""
    endpoint = ingest_endpoint()
    request = generation.ShareStoryboardRequest(storyboard_id=storyboard, member=member, access=access)
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = GenerationServiceStub(channel)
        return stub.ShareStoryboard(request, timeout=CALL_SECONDS, metadata=caller_metadata()).storyboard


def unshare_storyboard(storyboard: str, member: str) -> Storyboard:
    """Let someone do so no more."""
    endpoint = ingest_endpoint()
    request = generation.UnshareStoryboardRequest(storyboard_id=storyboard, member=member)
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = GenerationServiceStub(channel)
        return stub.UnshareStoryboard(request, timeout=CALL_SECONDS, metadata=caller_metadata()).storyboard


def transfer_storyboard(storyboard: str, owner: str) -> Storyboard:
    """Give a storyboard to an owner."""
    endpoint = ingest_endpoint()
    request = operators.TransferStoryboardRequest(storyboard_id=storyboard, owner=owner)
    with connect(endpoint) as channel, spoken_errors(endpoint):
        stub = QueueServiceStub(channel)
        return stub.TransferStoryboard(request, timeout=CALL_SECONDS, metadata=caller_metadata()).storyboard
