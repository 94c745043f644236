"""The names of long-running operations, by route: what a worker keeps, and what a person may record by hand."""

from __future__ import annotations

import re

LONGEST = 512

_MODEL = r"(?P<model>[A-Za-z0-9][A-Za-z0-9._-]*)"
_ID = r"[A-Za-z0-9][A-Za-z0-9._~-]*"
_PARENT = r"(?:projects/[A-Za-z0-9:._-]+/locations/[a-z0-9-]+/)?publishers/google/"
_SHAPES = {
    "veo_gemini": (re.compile(f"models/{_MODEL}/operations/{_ID}"), "models/MODEL/operations/ID"),
    "veo_vertex": (
        re.compile(f"{_PARENT}models/{_MODEL}/operations/{_ID}"),
        "projects/PROJECT/locations/LOCATION/publishers/google/models/MODEL/operations/ID",
    ),
    "interactions": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:=-]*"), "the interaction's id, such as v1_…"),
}


def is_operation_name(route: str, name: str) -> bool:
    """True where a name has the shape of the route's names, so that it can be polled and leads nowhere else."""
    shape = _SHAPES.get(route)
    return shape is not None and len(name) <= LONGEST and shape[0].fullmatch(name) is not None


def name_problem(route: str, model: str, name: str) -> str | None:
    """Why a name cannot be that of an operation of this route and model, as the end of a sentence; else None."""
    shape = _SHAPES.get(route)
    if shape is None:
        return f"cannot be recorded: route {route} has no operations"
    named = shape[0].fullmatch(name) if len(name) <= LONGEST else None
    if named is None:
        return f"must have the form {shape[1]}"
    other = named.groupdict().get("model", model)
    return None if other == model else f"belongs to model {other}, and the job's call was to {model}"
