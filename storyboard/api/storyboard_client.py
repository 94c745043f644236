"""Calls about owners and members of storyboards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from storyboard.api.client import CALL_SECONDS, caller_metadata, connect
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import ingest_endpoint
from superstoryboard.v1 import generation_service_pb2 as generation
from superstoryboard.v1 import queue_service_pb2 as operators
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from superstoryboard.v1.storyboard_pb2 import Storyboard, StoryboardAccess


@contextmanager
def _ingest() -> Iterator[tuple[grpc.Channel, dict[str, Any]]]:
    """A channel to ingest and what goes with each call; what fails is a CommandError."""
    endpoint = ingest_endpoint()
    with connect(endpoint) as channel, spoken_errors(endpoint):
        yield channel, {"timeout": CALL_SECONDS, "metadata": caller_metadata()}


def get_storyboard(storyboard: str) -> Storyboard:
    """A storyboard as the caller sees it.

    Raises:
        CommandError: the call failed, as in every function here.
    """
    request = generation.GetStoryboardRequest(storyboard_id=storyboard)
    with _ingest() as (channel, options):
        return GenerationServiceStub(channel).GetStoryboard(request, **options).storyboard


def share_storyboard(storyboard: str, member: str, access: StoryboardAccess) -> Storyboard:
    """Let someone read or write a storyboard."""
    request = generation.ShareStoryboardRequest(storyboard_id=storyboard, member=member, access=access)
    with _ingest() as (channel, options):
        return GenerationServiceStub(channel).ShareStoryboard(request, **options).storyboard


def unshare_storyboard(storyboard: str, member: str) -> Storyboard:
    """Let someone do so no more."""
    request = generation.UnshareStoryboardRequest(storyboard_id=storyboard, member=member)
    with _ingest() as (channel, options):
        return GenerationServiceStub(channel).UnshareStoryboard(request, **options).storyboard


def transfer_storyboard(storyboard: str, owner: str) -> Storyboard:
    """Give a storyboard to an owner."""
    request = operators.TransferStoryboardRequest(storyboard_id=storyboard, owner=owner)
    with _ingest() as (channel, options):
        return QueueServiceStub(channel).TransferStoryboard(request, **options).storyboard
