"""The models the emulated service knows: what they make, in which shapes, and which are gone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .errors import ApiError

Method = Literal["generateContent", "predictLongRunning", "interactions"]
Durations = Mapping[str, tuple[int, ...]]

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
    """One row of the table.

    ``sizes`` empty means the model ignores ``imageSize``. ``durations`` holds the lengths, in seconds, that
    each resolution of a film may have.
    """

    name: str
    method: Method
    ratios: tuple[str, ...]
    sizes: tuple[str, ...] = ()
    max_inputs: int = 14
    durations: Durations = field(default_factory=dict)


def _image(name: str, sizes: tuple[str, ...], *, extended: bool = False, max_inputs: int = 14) -> Model:
    ratios = tuple(EXTENDED_RATIOS if extended else CLASSIC_RATIOS)
    return Model(name=name, method="generateContent", ratios=ratios, sizes=sizes, max_inputs=max_inputs)


def _video(name: str, method: Method, durations: Durations) -> Model:
    return Model(name=name, method=method, ratios=("16:9", "9:16"), durations=durations)


def _veo_on_gemini(name: str, *resolutions: str) -> Model:
    durations = {resolution: (4, 6, 8) if resolution == "720p" else (8,) for resolution in resolutions}
    return _video(name, "predictLongRunning", durations)


def _veo_on_vertex(name: str, *resolutions: str) -> Model:
    return _video(name, "predictLongRunning", dict.fromkeys(resolutions, (4, 6, 8)))


def _omni(name: str, longest: int) -> Model:
    lengths = tuple(range(3, longest + 1))
    return _video(name, "interactions", dict.fromkeys(("360p", "720p", "1080p", "4k"), lengths))


def _by_name(*models: Model) -> dict[str, Model]:
    return {model.name: model for model in models}


CURRENT = _by_name(
    _image("gemini-nano-banana-2.1", ("1K", "2K", "4K"), extended=True),
    _image("gemini-3-pro-image", ("1K", "2K", "4K")),
    _image("gemini-3.1-flash-lite-image", ("1K",)),
    _image("gemini-2.5-flash-image", (), max_inputs=3),
    _veo_on_gemini("veo-3.1-generate-preview", "720p", "1080p", "4k"),
    _veo_on_gemini("veo-3.1-fast-generate-preview", "720p", "1080p", "4k"),
    _veo_on_gemini("veo-3.1-lite-generate-preview", "720p", "1080p"),
    _omni("gemini-omni-1.1-flash", 10),
    _omni("gemini-omni-1.2-flash", 15),
)
ON_VERTEX = _by_name(
    _veo_on_vertex("veo-3.1-generate-001", "720p", "1080p", "4k"),
    _veo_on_vertex("veo-3.1-fast-generate-001", "720p", "1080p", "4k"),
    _veo_on_vertex("veo-3.1-lite-generate-001", "720p", "1080p"),
)
RETIRED = frozenset(
    {
        "gemini-2.5-flash-image-preview",
        "gemini-3-pro-image-preview",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-image-preview",
        "gemini-omni-flash-preview",
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
    """Return the model of the Gemini API that answers ``method``; raise ApiError 404 as the service does."""
    if name in RETIRED or name in retired:
        raise ApiError(
            404,
            f"This model models/{name} is no longer available. "
            "Please update your code to use a newer model for the latest features and improvements.",
            word="model_not_found",
        )
    model = CURRENT.get(name)
    if model is not None and model.method == method:
        return model
    message = (
        f"models/{name} is not found for API version {version}, or is not supported for {method}. "
        "Call ListModels to see the list of available models and their supported methods."
    )
    if model is not None and model.method == "interactions":
        message = f"{name} is only supported in the Interactions API and cannot be called directly via {method}."
    raise ApiError(404, message, word="model_not_found")


def find_vertex_model(name: str, *, parent: str, retired: frozenset[str]) -> Model:
    """Return the model of Vertex; ``parent`` is the path before ``publishers/``. Raise ApiError 404 for others."""
    model = ON_VERTEX.get(name)
    if model is None or name in retired:
        raise ApiError(
            404,
            f"Publisher Model `{parent}publishers/google/models/{name}` was not found or your project does not have "
            "access to it. Please ensure you are using a valid model version. For more information, see: "
            "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions",
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
        "supportedGenerationMethods": [] if model.method == "interactions" else [model.method],
    }
