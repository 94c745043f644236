"""`--spend`: whether the operation of a submit without an answer could be found, which only a real key can prove."""

from __future__ import annotations

from storyboard.api.settings import secret
from storyboard.doctor.environment import value
from storyboard.doctor.findings import Finding, ok, unreachable, warning
from storyboard.doctor.google import KEY_SETTING, load_catalogue
from superstoryboard.domain.errors import ProviderFailure
from superstoryboard.domain.kinds import VIDEO
from superstoryboard.providers.catalogue import Catalogue, Model
from superstoryboard.providers.google.files import GOOGLE
from superstoryboard.providers.google.veo import ROUTE, VeoGemini
from superstoryboard.providers.routes import ListedOperation

NAME = "operation list"
BY_HAND = "If a submit gets no response, find the operation in the worker's log and run `storyboard record-operation`."


async def check_listing() -> list[Finding]:
    """Whether Google lists the operations of the video model, and shows what was asked; nothing without a key."""
    key, catalogue = secret(KEY_SETTING), load_catalogue()
    name = value("VIDEO_MODEL") or catalogue.default_name(VIDEO.name)
    if not key or name not in {each.name for each in catalogue.models(VIDEO.name)}:
        return []
    model = catalogue.get(name)
    if model.route != ROUTE:
        return [ok(NAME, f"route {model.route} of {model.name} has none; use `storyboard record-operation`")]
    return [await _listed(key, catalogue, model)]


async def _listed(key: str, catalogue: Catalogue, model: Model) -> Finding:
    veo = VeoGemini(
        api_key=key,
        base_url=value("GOOGLE_GEMINI_BASE_URL", GOOGLE),
        api_version=value("GOOGLE_API_VERSION", "v1beta"),
        catalogue=catalogue,
    )
    try:
        listed = await veo.recent(model.name)
    except ProviderFailure as failure:
        return unreachable(
            NAME, f"the operations could not be listed: {failure.error.message}", "Try again in a few minutes."
        )
    finally:
        await veo.aclose()
    if not veo.lists:
        return warning(NAME, f"Google lists no operations of {model.name}", BY_HAND)
    return _usable(listed, model)


def _usable(listed: list[ListedOperation], model: Model) -> Finding:
    if listed and not any(each.mark or (each.created_at and each.prompt) for each in listed):
        return warning(NAME, f"Google lists {len(listed)} operations, but not their requests", BY_HAND)
    return ok(NAME, f"Google lists {len(listed)} operations of {model.name}; a lost one can be found")
