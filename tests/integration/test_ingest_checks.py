"""Requests that ingest refuses by field, over real gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.integration.ingest_calls import image, reason, refused, video, violations
from tests.running import ALICE

BAD_IMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "empty prompt": ({"prompt": ""}, "image.prompt"),
    "blank prompt": ({"prompt": " \n\t"}, "image.prompt"),
    "prompt over the model's limit": ({"prompt": "x" * 100_000}, "image.prompt"),
    "prompt of a million characters": ({"prompt": "x" * 1_000_000}, "image.prompt"),
    "U+0000": ({"prompt": "a\0b"}, "image.prompt"),
    "unknown aspect ratio": ({"aspect_ratio": "7:5"}, "image.aspect_ratio"),
    "unknown model": ({"model": "gpt"}, "image.model"),
    "a video model": ({"model": "veo-3.1-fast-generate-preview"}, "image.model"),
    "slash in id": ({"scene_id": "a/b"}, "image.scene_id"),
    "dots as id": ({"storyboard_id": ".."}, "image.storyboard_id"),
    "control character in id": ({"character_id": "a\x1b"}, "image.character_id"),
    "newline at the end of an id": ({"character_id": "a\n"}, "image.character_id"),
    "id of 200 characters": ({"scene_id": "x" * 200}, "image.scene_id"),
    "no storyboard": ({"storyboard_id": ""}, "image.storyboard_id"),
    "edit without source": ({"edit_mode": True}, "image.source_image_url"),
    "source that is no URL": ({"source_image_url": "file:///etc/passwd"}, "image.source_image_url"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_by_field_and_nothing_is_stored(
    generation: GenerationServiceStub, rows: Callable[[], tuple[int, int]], case: str
) -> None:
    changes, field = BAD_IMAGES[case]
    before = rows()
    error = refused(
        lambda: generation.CreateImageJob(api.CreateImageJobRequest(image=image(**changes)), metadata=ALICE)
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == [field]
    assert rows() == before


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"resolution": "1080p", "duration_seconds": "4"}, {"video.resolution"}),
        ({"duration_seconds": "5"}, {"video.duration_seconds"}),
        ({"aspect_ratio": "1:1", "resolution": "8k"}, {"video.aspect_ratio", "video.resolution"}),
        ({"prompt": "", "storyboard_id": "a b"}, {"video.prompt", "video.storyboard_id"}),
    ],
)
def test_bad_videos_are_refused_with_every_wrong_field(
    generation: GenerationServiceStub, changes: dict[str, str], fields: set[str]
) -> None:
    error = refused(
        lambda: generation.CreateVideoJob(api.CreateVideoJobRequest(video=video(**changes)), metadata=ALICE)
    )
    assert set(violations(error)) == fields


def test_all_wrong_fields_come_in_one_answer(generation: GenerationServiceStub) -> None:
    request = api.CreateImageJobRequest(
        image=image(storyboard_id="/", prompt=" ", aspect_ratio="x"), request_id="no good", labels={"k" * 64: "v"}
    )
    request.schedule_time.FromJsonString("2099-01-01T00:00:00Z")
    error = refused(lambda: generation.CreateImageJob(request, metadata=ALICE))
    rules = violations(error)
    assert {"image.storyboard_id", "image.prompt", "image.aspect_ratio", "request_id", "schedule_time"} <= set(rules)
    assert any(field.startswith("labels") for field in rules)
    assert reason(error) == "INVALID_ARGUMENT"


def test_an_empty_request_names_the_missing_part(generation: GenerationServiceStub) -> None:
    error = refused(lambda: generation.CreateImageJob(api.CreateImageJobRequest(), metadata=ALICE))
    assert list(violations(error)) == ["image"]


def test_a_message_over_16_mib_is_refused_and_the_server_goes_on(generation: GenerationServiceStub) -> None:
    request = api.CreateImageJobRequest(image=image(prompt="x" * (17 * 1024 * 1024)))
    error = refused(lambda: generation.CreateImageJob(request, metadata=ALICE))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert generation.CreateImageJob(api.CreateImageJobRequest(image=image()), metadata=ALICE).job.id
