"""Orders of films by the Interactions API."""

import base64
from typing import Any

import httpx
from PIL import Image

from tests.emulators.google_fixture import (
    Film,
    encode,
)

GOOGLE = "https://generativelanguage.googleapis.com"

CELEBRITY = "Support codes: 15236754"


def video_format(**fields: Any) -> dict[str, Any]:
    return {"type": "video", "delivery": "uri", "duration": "3s", "resolution": "360p"} | fields


def image_content(picture: Image.Image) -> dict[str, str]:
    return {"type": "image", "mime_type": "image/png", "data": base64.b64encode(encode(picture)).decode()}


def video_of(interaction: dict[str, Any]) -> dict[str, Any]:
    video: dict[str, Any] = interaction["steps"][-1]["content"][-1]
    assert (video["type"], video["mime_type"]) == ("video", "video/mp4")
    return video


def file_path(interaction: dict[str, Any]) -> str:
    """Return the path of the file of the film, without what asks for its bytes."""
    uri: str = video_of(interaction)["uri"]
    assert uri.startswith(f"{GOOGLE}/v1beta/files/")
    assert uri.endswith(":download?alt=media")
    return uri.removeprefix(GOOGLE).partition(":")[0]


def film_of(client: httpx.Client, interaction: dict[str, Any]) -> Film:
    return Film(client.get(f"{file_path(interaction)}:download?alt=media").raise_for_status().content)
