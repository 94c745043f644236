"""The models the emulated service knows: what they make, in which shapes, and which are gone."""

from dataclasses import dataclass
from typing import Literal

from devstack.google_emulator.errors import ApiError

Method = Literal["generateContent", "predictLongRunning"]

CLASSIC_RATIOS: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
EXTENDED_RATIOS = CLASSIC_RATIOS | {
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (384, 3072),
    "8:1": (3072, 384),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the table. ``sizes`` empty means the model ignores ``imageSize``."""

    name: str
    method: Method
    ratios: tuple[str, ...]
    sizes: tuple[str, ...] = ()
    max_inputs: int = 14
    resolutions: tuple[str, ...] = ()


def _image(name: str, sizes: tuple[str, ...], *, extended: bool = False, max_inputs: int = 14) -> Model:
    ratios = tuple(EXTENDED_RATIOS if extended else CLASSIC_RATIOS)
    return Model(name=name, method="generateContent", ratios=ratios, sizes=sizes, max_inputs=max_inputs)


def _video(name: str, *resolutions: str) -> Model:
    return Model(name=name, method="predictLongRunning", ratios=("16:9", "9:16"), resolutions=resolutions)


CURRENT = {
    model.name: model
    for model in (
        _image("gemini-nano-banana-2.1", ("1K", "2K", "4K"), extended=True),
        _image("gemini-3-pro-image", ("1K", "2K", "4K")),
        _image("gemini-3.1-flash-lite-image", ("1K",)),
        _image("gemini-2.5-flash-image", (), max_inputs=3),
        _video("veo-3.1-generate-preview", "720p", "1080p", "4k"),
        _video("veo-3.1-fast-generate-preview", "720p", "1080p", "4k"),
        _video("veo-3.1-lite-generate-preview", "720p", "1080p"),
    )
}
RETIRED = frozenset(
    {
        "gemini-2.5-flash-image-preview",
        "gemini-3-pro-image-preview",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-image-preview",
        "imagen-4.0-fast-generate-001",
        "imagen-4.0-generate-001",
        "imagen-4.0-ultra-generate-001",
        "veo-2.0-generate-001",
        "veo-3.0-fast-generate-001",
        "veo-3.0-fast-generate-preview",
        "veo-3.0-generate-001",
        "veo-3.0-generate-preview",
    }
)


def find_model(name: str, *, version: str, method: str, retired: frozenset[str]) -> Model:
    """Return the model that answers ``method`` under ``name``; raise ApiError 404 as the service does."""
    if name in RETIRED or name in retired:
        raise ApiError(
            404,
            f"This model models/{name} is no longer available. "
            "Please update your code to use a newer model for the latest features and improvements.",
        )
    model = CURRENT.get(name)
    if model is None or model.method != method:
        raise ApiError(
            404,
            f"models/{name} is not found for API version {version}, or is not supported for {method}. "
            "Call ListModels to see the list of available models and their supported methods.",
        )
    return model


def describe_model(name: str, *, version: str, retired: frozenset[str]) -> dict[str, object]:
    """Return the Model resource of a current model; raise ApiError 404 for any other name."""
    method = CURRENT[name].method if name in CURRENT else "generateContent"
    model = find_model(name, version=version, method=method, retired=retired)
    return {
        "name": f"models/{model.name}",
        "version": "emulator",
        "displayName": model.name,
        "description": f"Emulated {model.name}",
        "inputTokenLimit": 32768 if model.method == "generateContent" else 480,
        "outputTokenLimit": 32768 if model.method == "generateContent" else 8192,
        "supportedGenerationMethods": [model.method],
    }
