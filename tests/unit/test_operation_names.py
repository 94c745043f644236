"""Names of operations: their shape by route, and what a person may record for a call."""

from __future__ import annotations

import pytest

from superstoryboard.providers.operation_names import LONGEST, is_operation_name, name_problem
from superstoryboard.providers.routes import ROUTES

VEO, OTHER = "veo-3.1-generate-preview", "veo-3.1-fast-generate-preview"
PROJECT = "projects/mine/locations/us-central1/"
NAMES = {
    "veo_gemini": f"models/{VEO}/operations/abc",
    "veo_vertex": f"{PROJECT}publishers/google/models/{VEO}/operations/0-a",
    "interactions": "v1_ChdpbnRlcmFjdGlvbg==",
}


def test_every_route_with_operations_has_a_name_here() -> None:
    assert set(NAMES) == {name for name, route in ROUTES.items() if route.operation_names}


@pytest.mark.parametrize(("route", "name"), NAMES.items())
def test_each_route_takes_its_own_names_only(route: str, name: str) -> None:
    assert is_operation_name(route, name)
    assert name_problem(route, VEO, name) is None
    for other in NAMES.keys() - {route}:
        assert not is_operation_name(other, name)
        assert "must have the form" in (name_problem(other, VEO, name) or "")


@pytest.mark.parametrize("route", ["veo_gemini", "veo_vertex"])
def test_a_name_that_says_another_model_is_not_that_of_the_call(route: str) -> None:
    assert name_problem(route, OTHER, NAMES[route]) == f"belongs to model {VEO}, and the job's call was to {OTHER}"


@pytest.mark.parametrize("name", ["", "a b", "../v1_x", "v1_x/../y", "v1_x?key=1", "v1_x\n", "x" * (LONGEST + 1)])
def test_what_could_lead_elsewhere_is_no_name(name: str) -> None:
    assert not any(is_operation_name(route, name) for route in NAMES)


def test_a_route_without_operations_takes_no_name() -> None:
    assert name_problem("gemini_image", "m", "v1_x") == "cannot be recorded: route gemini_image has no operations"
