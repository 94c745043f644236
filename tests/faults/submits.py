"""Asks for the jobs of a row, as a client that tries again."""

from __future__ import annotations

import time
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from tests.faults.world import World
from tests.running import ALICE

SUBMIT_SECONDS = 300.0
SCHEDULED_SECONDS = 3


def submit_all(world: World, images: int, videos: int) -> None:
    """Ask for the jobs of the row, one after the other.

    The first image is scheduled for a moment later and the last one is of the same scene: so in every row an older
    job ends after a newer one.
    """
    for place in range(images + videos):
        scene = 0 if place == images - 1 else place
        later = SCHEDULED_SECONDS if place == 0 else 0
        submit(world, place, scene, video=place >= images, delay_seconds=later)


def submit(world: World, number: int, scene: int, *, video: bool, board: str = "", delay_seconds: int = 0) -> None:
    """Ask for one job until ingest answers; the request_id makes repeats harmless."""
    name = f"{board or world.row}-{number}"
    fields: dict[str, Any] = {
        "storyboard_id": board or world.row,
        "scene_id": f"s{scene}",
        "prompt": f"scene {name}.",
    }
    when = Timestamp()
    when.FromMilliseconds(int((time.time() + delay_seconds) * 1000))
    common: dict[str, Any] = {"request_id": name} | ({"schedule_time": when} if delay_seconds else {})
    deadline = time.monotonic() + SUBMIT_SECONDS
    while not world.ended.is_set():
        try:
            _ask(world, fields, common, video=video)
        except grpc.RpcError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"ingest did not take {name}: {error.code()}") from None
            world.ended.wait(0.25)
        else:
            return


def _ask(world: World, fields: dict[str, Any], common: dict[str, Any], *, video: bool) -> None:
    stub = world.running.stub
    if video:
        generation = job_pb2.VideoGeneration(duration_seconds="4", model=world.video_model, **fields)
        video_request = api.CreateVideoJobRequest(video=generation, **common)
        stub.CreateVideoJob(video_request, metadata=ALICE, timeout=10, wait_for_ready=True)
    else:
        request = api.CreateImageJobRequest(image=job_pb2.ImageGeneration(**fields), **common)
        stub.CreateImageJob(request, metadata=ALICE, timeout=10, wait_for_ready=True)
