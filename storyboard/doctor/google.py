"""Google: the key, and whether the configured models exist and can do what jobs ask for by default."""

from __future__ import annotations

from pathlib import Path

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import secret
from storyboard.doctor.environment import value
from storyboard.doctor.findings import Finding, State, failed, not_set, ok, unreachable, warning
from superstoryboard.domain.kinds import KINDS, charged_kinds
from superstoryboard.inspection.google import (
    GoogleInspection,
    GoogleInspectionError,
    ModelAnswer,
    inspect_google,
)
from superstoryboard.providers.catalogue import Catalogue, CatalogueError, Model, UnknownModel
from superstoryboard.providers.google.files import GOOGLE
from superstoryboard.providers.routes import ROUTES
from superstoryboard.providers.validation import describe, parse_generation, validate_generation

KEY_SETTING = "GOOGLE_GENERATIVE_AI_API_KEY"
DEFAULT_REQUEST = {"storyboardId": "doctor", "prompt": "A dot"}
KEY_FINDINGS = {
    ModelAnswer.BAD_KEY: (
        f"{KEY_SETTING} was rejected",
        f"Create a key in Google AI Studio and set {KEY_SETTING} to it.",
    ),
    ModelAnswer.FORBIDDEN: (
        f"{KEY_SETTING} may not call the Gemini API",
        "Enable the Generative Language API in the key's project, and check the key's restrictions and the region.",
    ),
    ModelAnswer.STRANGE: (
        "the server at this address is not the Gemini API",
        "Correct GOOGLE_GEMINI_BASE_URL and GOOGLE_API_VERSION, or leave them empty.",
    ),
}


async def check_google() -> list[Finding]:
    """The catalogue, the key, and the model of each kind."""
    key = secret(KEY_SETTING)
    if not key and not any(value(kind.model_setting) for kind in charged_kinds()):
        return [not_set("google key", KEY_SETTING)]
    try:
        catalogue = load_catalogue()
    except CommandError as error:
        return [failed("catalogue", error.lines[0], error.lines[1], error.exit_code)]
    known = [_known(catalogue, kind.name, kind.model_setting) for kind in charged_kinds()]
    if not key:
        return [
            not_set("google key", f"{KEY_SETTING}, so models are checked against the catalogue only"),
            *(each if isinstance(each, Finding) else _by_catalogue(catalogue, each) for each in known),
        ]
    try:
        return await _ask(key, catalogue, known)
    except GoogleInspectionError as error:
        action = "Check that this machine reaches GOOGLE_GEMINI_BASE_URL (else generativelanguage.googleapis.com)."
        return [unreachable("google key", str(error), action)]


async def _ask(key: str, catalogue: Catalogue, known: list[Model | Finding]) -> list[Finding]:
    if not (key.isascii() and key.isprintable()):
        return [failed("google key", *KEY_FINDINGS[ModelAnswer.BAD_KEY])]
    base_url, version = value("GOOGLE_GEMINI_BASE_URL", GOOGLE), value("GOOGLE_API_VERSION", "v1beta")
    listed = [each.name for each in known if isinstance(each, Model) and ROUTES[each.route].by_key]
    async with inspect_google(base_url, version, key) as google:
        answers = {name: await google.model(name) for name in listed}
        first = await _key(google, answers)
    if first.state is State.FAILED:
        return [first]
    return [
        first,
        *(each if isinstance(each, Finding) else _model(catalogue, each, answers.get(each.name)) for each in known),
    ]


def load_catalogue() -> Catalogue:
    """The catalogue that MODEL_CATALOGUE names, else the shipped one.

    Raises:
        CommandError: it cannot be read or does not make sense.
    """
    file = value("MODEL_CATALOGUE")
    action = "Correct MODEL_CATALOGUE, or leave it empty."
    try:
        return Catalogue.load(Path(file) if file else None)
    except CatalogueError as error:
        raise CommandError(ExitCode.USAGE, [str(error), action]) from None


def _known(catalogue: Catalogue, kind: str, setting: str) -> Model | Finding:
    name = value(setting) or catalogue.default_name(kind)
    try:
        model = catalogue.get(name)
    except UnknownModel:
        choices = ", ".join(each.name for each in catalogue.models(kind) if not each.retirement_warning())
        action = (
            f"Set {setting} to one of the catalogue's ({choices or catalogue.default_name(kind)}), or add an entry."
        )
        return failed(f"{kind} model", f"{name} is not in the catalogue", action)
    if model.kind != kind:
        mend = f"Set {setting} to a model that generates {kind}s, such as {catalogue.default_name(kind)}."
        return failed(f"{kind} model", f"{name} generates {model.kind}s", mend)
    violations = validate_generation(
        parse_generation(kind, {"storyboardId": "doctor", "prompt": "A dot"}), catalogue, name
    )
    if violations:
        action = f"Set {setting} to another model: requests without a size fail with this one."
        if model.refuse:
            action = _replace_by(catalogue, model)
        return failed(f"{kind} model", f"{name} cannot generate the default request: {describe(violations)}", action)
    return model


async def _key(google: GoogleInspection, answers: dict[str, ModelAnswer]) -> Finding:
    """The key by what Google answered about models, or about a model that no service has."""
    replies = list(answers.values()) or [await google.model("no-such-model")]
    for answer in replies:
        if answer in KEY_FINDINGS:
            return failed("google key", *KEY_FINDINGS[answer])
    if all(answer is ModelAnswer.BUSY for answer in replies):
        return warning("google key", "Google is overloaded or the quota is exhausted", "Try again in a few minutes.")
    return ok("google key", f"{KEY_SETTING} is accepted")


def _model(catalogue: Catalogue, model: Model, answer: ModelAnswer | None) -> Finding:
    name = f"{model.kind} model"
    if answer is ModelAnswer.MISSING:
        problem = f"{model.name} is not available to this key"
        if model.retirement_warning():
            problem = model.refusal
        return failed(name, problem, _replace_by(catalogue, model))
    if answer is None:
        return warning(
            name, f"{model.name} is on route {model.route}, which is not checked", "Create a job to test it."
        )
    if answer is ModelAnswer.BUSY:
        return warning(
            name, f"{model.name}: Google is overloaded or the quota is exhausted", "Try again in a few minutes."
        )
    return _by_catalogue(catalogue, model)


def _by_catalogue(catalogue: Catalogue, model: Model) -> Finding:
    name = f"{model.kind} model"
    late = model.retirement_warning()
    if late:
        return warning(name, late, _replace_by(catalogue, model))
    shape = model.default_aspect_ratio or "size of the model"
    if model.durations:
        shape += f", {model.default_duration} s, {model.default_resolution}"
    until = f", retires {model.retirement_date}" if model.retirement_date else ""
    return ok(name, f"{model.name} can do the default {shape}{until}")


def _replace_by(catalogue: Catalogue, model: Model) -> str:
    setting = KINDS[model.kind].model_setting
    known = {each.name for each in catalogue.models(model.kind)}
    if model.replacement in known:
        return f"Set {setting} to {model.replacement}."
    if model.replacement:
        return f"Set {setting} to {model.replacement}, once the catalogue has it."
    return f"Set {setting} to another model of the catalogue, or leave it empty for its default."
