"""Rows that `make up` begins with: storyboards of the README and of examples/, so that their pictures have a place."""

from __future__ import annotations

from typing import Any

SCENES = {"scene-001": "The lighthouse", "scene-002": "The lamp room", "scene-003": "The harbour"}
CHARACTERS = {"keeper": "The keeper"}
STORYBOARDS = ("my-storyboard", "test-storyboard")


def first_rows() -> dict[str, dict[str, Any]]:
    """By key: each storyboard, its scenes and its characters, as an application would have written them."""
    rows: dict[str, dict[str, Any]] = {}
    for board in STORYBOARDS:
        scenes = [{"id": scene, "title": title} for scene, title in SCENES.items()]
        characters = [{"id": character, "name": name} for character, name in CHARACTERS.items()]
        rows[f"storyboard:{board}"] = {"id": board, "title": board, "scenes": scenes, "characters": characters}
        rows |= {f"scene:{board}:{each['id']}": each | {"storyboardId": board} for each in scenes}
        rows |= {f"character:{board}:{each['id']}": each | {"storyboardId": board} for each in characters}
    return rows
