"""`--spend`: one cheapest image by the real route, through ingest where it is reachable, else directly from Google."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from storyboard.api.client import connect_ingest
from storyboard.api.settings import secret
from storyboard.doctor.environment import value
from storyboard.doctor.findings import Finding, State, failed, ok, unreachable
from storyboard.doctor.google import KEY_SETTING, load_catalogue
from storyboard.terminal.views import SUCCEEDED, TERMINAL_STATES, error_text, state_word
from superstoryboard.domain.errors import ProviderFailure
from superstoryboard.domain.kinds import IMAGE
from superstoryboard.domain.media import Media
from superstoryboard.media import MediaError
from superstoryboard.media.verify import probe_bytes
from superstoryboard.providers.catalogue import Catalogue, Model
from superstoryboard.providers.google.files import GOOGLE
from superstoryboard.providers.google.gemini_images import ROUTE, GeminiImages
from superstoryboard.providers.routes import Call
from superstoryboard.v1.generation_service_pb2 import CreateImageJobRequest
from superstoryboard.v1.job_pb2 import ImageGeneration, Job

NAME = "image"
PROMPT = "A single red dot on white"
STORYBOARD = "storyboard-doctor"
CALL_SECONDS = 120.0
JOB_SECONDS = 300.0
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """What would be bought, and by which way."""

    model: str
    usd: Decimal
    through_ingest: bool

    @property
    def question(self) -> str:
        """What people are asked before money is spent."""
        way = "through ingest, workers and Storage" if self.through_ingest else "directly from Google"
        return f"Generate one image with {self.model} {way}, for about ${self.usd}?"


def plan(findings: Iterable[Finding], catalogue: Catalogue) -> Plan | Finding:
    """The way that the checks found open, else why there is none."""
    good = {finding.name for finding in findings if finding.state is not State.FAILED}
    usable = {finding.name for finding in findings if finding.state in (State.OK, State.WARNING)}
    model = cheapest(catalogue)
    usd = min(model.price.usd.values())
    if {"ingest", "token"} <= usable:
        return Plan(model.name, usd, through_ingest=True)
    if "google key" in good and secret(KEY_SETTING):
        return Plan(model.name, usd, through_ingest=False)
    action = f"Correct INGEST_ADDRESS and STORYBOARD_TOKEN, or set {KEY_SETTING}."
    return failed(NAME, "no image was generated: neither ingest nor Google is reachable", action)


def cheapest(catalogue: Catalogue) -> Model:
    """The image model of the lowest price that is not retired; on a tie the earlier one of the catalogue."""
    models = [each for each in catalogue.models(IMAGE.name) if not each.refuse and each.price.usd]
    current = [each for each in models if not each.retirement_warning() and each.route == ROUTE]
    return min(current or models, key=lambda each: min(each.price.usd.values()))


def make_image(plan: Plan) -> Finding:
    """Buy it and say what came."""
    begun = time.monotonic()
    if plan.through_ingest:
        return _through_ingest(plan, begun)
    return asyncio.run(_straight(plan, begun))


def _through_ingest(plan: Plan, begun: float) -> Finding:
    generation = ImageGeneration(storyboard_id=STORYBOARD, prompt=PROMPT, model=plan.model)
    request = CreateImageJobRequest(image=generation, labels={"made-by": "doctor"})
    with connect_ingest() as ingest:
        job = ingest.create_image(request)
        while job.state not in TERMINAL_STATES and time.monotonic() - begun < JOB_SECONDS:
            time.sleep(LOOK_SECONDS)
            job = ingest.get(job.id)
    return _ended(job, time.monotonic() - begun)


def _ended(job: Job, seconds: float) -> Finding:
    if job.state == SUCCEEDED:
        asset = job.asset
        shape = f"{asset.media_type}, {asset.width}x{asset.height}, {asset.size_bytes} bytes"
        return ok(NAME, f"{shape}, stored after {seconds:.1f} s at {asset.url} (job {job.id})")
    if job.state not in TERMINAL_STATES:
        problem = f"job {job.id} is still {state_word(job.state)} after {seconds:.0f} s"
        return unreachable(NAME, problem, f"Check that the workers run. `storyboard watch {job.id}` follows the job.")
    problem = f"job {job.id} ended {state_word(job.state)}: {error_text(job.error)}"
    return failed(NAME, problem, "docs/STATES.md says what each class of error means.")


async def _straight(plan: Plan, begun: float) -> Finding:
    provider = GeminiImages(
        api_key=secret(KEY_SETTING),
        base_url=value("GOOGLE_GEMINI_BASE_URL", GOOGLE),
        api_version=value("GOOGLE_API_VERSION", "v1beta"),
        catalogue=load_catalogue(),
    )
    try:
        call = Call(model=plan.model, prompt=PROMPT, aspect_ratio="1:1")
        data = await provider.generate(call, timeout_seconds=CALL_SECONDS)
        picture = await probe_bytes(data, Media.IMAGE)
    except ProviderFailure as error:
        problem = f"Google returned no image: {error.error.error_class}/{error.error.code}: {error.error.message}"
        return failed(NAME, problem, "docs/STATES.md says what each class of error means.")
    except MediaError as error:
        return failed(NAME, f"the result is not an image: {error}", "Try another model.")
    finally:
        await provider.aclose()
    shape = f"{picture.media_type}, {picture.width}x{picture.height}, {len(data)} bytes"
    return ok(NAME, f"{shape}, after {time.monotonic() - begun:.1f} s; it was not stored")
