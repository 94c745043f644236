"""The names of long-running operations, by route: what a worker keeps, and what a person may record by hand."""

from __future__ import annotations

import re

from superstoryboard.providers.routes import ROUTES

LONGEST = 512


def is_operation_name(route: str, name: str) -> bool:
    """True where a name has the shape of the route's names, so that it can be polled and leads nowhere else."""
    return _read(route, name) is not None


def name_problem(route: str, model: str, name: str) -> str | None:
    """Why a name cannot be that of an operation of this route and model, as the end of a sentence; else None."""
    known = ROUTES.get(route)
    if known is None or not known.operation_names:
        return f"cannot be recorded: route {route} has no operations"
    named = _read(route, name)
    if named is None:
        return f"must have the form {known.name_form}"
    other = named.groupdict().get("model", model)
    return None if other == model else f"belongs to model {other}, and the job's call was to {model}"


def _read(route: str, name: str) -> re.Match[str] | None:
    known = ROUTES.get(route)
    if known is None or not known.operation_names or len(name) > LONGEST:
        return None
    return re.fullmatch(known.operation_names, name)
