"""`image`, `image-edit` and `video`: one job each."""

from __future__ import annotations

from typing import Annotated

import typer

from storyboard.api.client import connect_ingest
from storyboard.terminal.options import (
    ASK_PANEL,
    STORYBOARD_DEFAULT,
    Character,
    Detach,
    Labels,
    Model,
    Prompt,
    RequestId,
    RunJson,
    Scene,
    Storyboard,
    parse_labels,
)
from storyboard.terminal.waiting import finish_job
from superstoryboard.v1.generation_service_pb2 import CreateImageJobRequest, CreateVideoJobRequest
from superstoryboard.v1.job_pb2 import ImageGeneration, VideoGeneration

PANEL = "Generate"
Reference = Annotated[
    str, typer.Option("--source", metavar="URL", help="URL of the reference image.", rich_help_panel=ASK_PANEL)
]
EditSource = Annotated[
    str,
    typer.Option(
        "--source", metavar="URL", help="URL of the image to edit.", rich_help_panel=ASK_PANEL, show_default=False
    ),
]
FirstFrame = Annotated[
    str, typer.Option("--source", metavar="URL", help="URL of the first frame.", rich_help_panel=ASK_PANEL)
]
ImageRatio = Annotated[
    str,
    typer.Option("--aspect-ratio", metavar="W:H", help="For example 16:9, 1:1 or 3:4.", rich_help_panel=ASK_PANEL),
]
VideoRatio = Annotated[
    str,
    typer.Option("--aspect-ratio", metavar="W:H", help="16:9 or 9:16; default 16:9.", rich_help_panel=ASK_PANEL),
]
Duration = Annotated[
    str,
    typer.Option("--duration", metavar="SECONDS", help="For example 4, 6 or 8; default 8.", rich_help_panel=ASK_PANEL),
]
Resolution = Annotated[
    str,
    typer.Option(
        "--resolution", metavar="NAME", help="For example 720p or 1080p; default 720p.", rich_help_panel=ASK_PANEL
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("image", rich_help_panel=PANEL)(image)
    app.command("image-edit", rich_help_panel=PANEL)(image_edit)
    app.command("video", rich_help_panel=PANEL)(video)


def image(
    prompt: Prompt,
    *,
    source: Reference = "",
    aspect_ratio: ImageRatio = "",
    model: Model = "",
    storyboard: Storyboard = STORYBOARD_DEFAULT,
    scene: Scene = "",
    character: Character = "",
    request_id: RequestId = "",
    label: Labels = [],  # noqa: B006 - typer copies it
    detach: Detach = False,
    as_json: RunJson = False,
) -> None:
    """Generate an image for a scene or a character.

    With --source the new image uses that image as a reference.

    [bold]Examples[/bold]

      storyboard image "A lighthouse at dusk" --scene scene-001

      storyboard image "The keeper" --character keeper --aspect-ratio 3:4
    """
    generation = ImageGeneration(
        storyboard_id=storyboard,
        scene_id=scene,
        character_id=character,
        prompt=prompt,
        source_image_url=source,
        aspect_ratio=aspect_ratio,
        model=model,
    )
    _create_image(generation, request_id, label, detach=detach, as_json=as_json)


def image_edit(
    prompt: Prompt,
    *,
    source: EditSource,
    model: Model = "",
    storyboard: Storyboard = STORYBOARD_DEFAULT,
    scene: Scene = "",
    character: Character = "",
    request_id: RequestId = "",
    label: Labels = [],  # noqa: B006 - typer copies it
    detach: Detach = False,
    as_json: RunJson = False,
) -> None:
    """Edit an image.

    The prompt describes the change; --source is the URL of the image.

    [bold]Example[/bold]

      storyboard image-edit "Make it night" --source https://example.com/a.png
    """
    generation = ImageGeneration(
        storyboard_id=storyboard,
        scene_id=scene,
        character_id=character,
        prompt=prompt,
        source_image_url=source,
        edit_mode=True,
        model=model,
    )
    _create_image(generation, request_id, label, detach=detach, as_json=as_json)


def video(
    prompt: Prompt,
    *,
    source: FirstFrame = "",
    duration: Duration = "",
    aspect_ratio: VideoRatio = "",
    resolution: Resolution = "",
    model: Model = "",
    storyboard: Storyboard = STORYBOARD_DEFAULT,
    scene: Scene = "",
    character: Character = "",
    request_id: RequestId = "",
    label: Labels = [],  # noqa: B006 - typer copies it
    detach: Detach = False,
    as_json: RunJson = False,
) -> None:
    """Generate a video for a scene or a character.

    With --source the video starts from that image. `storyboard models videos` lists what each model offers.

    [bold]Examples[/bold]

      storyboard video "Waves break on the rocks" --scene scene-001 --duration 4

      storyboard video "She turns around" --source https://example.com/a.png
    """
    generation = VideoGeneration(
        storyboard_id=storyboard,
        scene_id=scene,
        character_id=character,
        prompt=prompt,
        source_image_url=source,
        aspect_ratio=aspect_ratio,
        duration_seconds=duration,
        resolution=resolution,
        model=model,
    )
    request = CreateVideoJobRequest(video=generation, request_id=request_id, labels=parse_labels(label))
    with connect_ingest() as ingest:
        finish_job(ingest, ingest.create_video(request), detach=detach, as_json=as_json)


def _create_image(
    generation: ImageGeneration, request_id: str, label: list[str], *, detach: bool, as_json: bool
) -> None:
    request = CreateImageJobRequest(image=generation, request_id=request_id, labels=parse_labels(label))
    with connect_ingest() as ingest:
        finish_job(ingest, ingest.create_image(request), detach=detach, as_json=as_json)
