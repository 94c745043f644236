"""A job in words: lines and tables for people."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from storyboard.terminal.output import print_line, print_table, stdout
from superstoryboard.domain import states
from superstoryboard.domain.kinds import kind_name
from superstoryboard.domain.states import state_name, state_value
from superstoryboard.v1.job_pb2 import ErrorClass, Job, JobError, JobKind, JobState

STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "DEAD_LETTERED": "red",
    "CANCELLED": "yellow",
    "RETRYING": "yellow",
    "RUNNING": "cyan",
    "STAGED": "cyan",
}
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
TERMINAL_STATES = frozenset(JobState.Value(state_value(name)) for name in states.TERMINAL_STATES)
WAITING_STATES = (
    JobState.JOB_STATE_QUEUED,
    JobState.JOB_STATE_RUNNING,
    JobState.JOB_STATE_STAGED,
    JobState.JOB_STATE_RETRYING,
)


def state_word(state: JobState) -> str:
    """SUCCEEDED for JOB_STATE_SUCCEEDED."""
    return state_name(state)


def state_text(state: JobState) -> Text:
    """The word in its colour."""
    word = state_word(state)
    return Text(word, STYLES.get(word, ""))


def entity_of(job: Job) -> str:
    """Scene, else character, else the storyboard, else the job's own id."""
    asked = _asked(job)
    return asked.get("scene_id") or asked.get("character_id") or asked.get("storyboard_id") or job.id


def _asked(job: Job) -> dict[str, str]:
    """What the job was asked for, by field; empty where its message was not valid, or is of a later release."""
    field = job.WhichOneof("generation")
    return {each.name: str(value) for each, value in getattr(job, field).ListFields()} if field else {}


MEANINGS = {
    "entity not found": "the asset is stored, but the key-value table has no row for its scene or character",
    "result not stored": "the asset is stored, but not every result of the job could be",
    "superseded": "the asset is stored, but a newer one is linked",
}


def outcome_of(job: Job) -> str:
    """URL of the asset, or why there is none (yet)."""
    if job.state == SUCCEEDED:
        return job.asset.url
    return error_text(job.error) if job.HasField("error") else ""


def error_text(error: JobError) -> str:
    """Class, code and sentence."""
    word = ErrorClass.Name(getattr(error, "class")).removeprefix("ERROR_CLASS_")
    return f"{word}/{error.code}: {error.message}" if error.code else f"{word}: {error.message}"


def print_result(job: Job) -> None:
    """The end of one job: its state and id, then its URL or error, then its warnings."""
    stdout().print(Text.assemble(state_text(job.state), " ", job.id))
    for line in (outcome_of(job), *(f"warning: {_explained(warning)}" for warning in job.warnings)):
        if line:
            print_line(line)


def _explained(warning: str) -> str:
    """A warning with what it means, where it does not say that by itself."""
    meaning = MEANINGS.get(warning)
    return f"{warning} ({meaning})" if meaning else warning


def print_details(job: Job) -> None:
    """Everything about one job that is set, a line each."""
    for name, value in _facts(job):
        if str(value):
            stdout().print(Text.assemble((f"{name:<14}", "bold"), " ", value), soft_wrap=True)


def print_jobs(jobs: Iterable[Job]) -> None:
    """A table with a row per job."""
    print_table(("JOB", "KIND", "ENTITY", "STATE", "ATTEMPT", "CREATED", "RESULT"), map(_row, jobs))


def time_text(time: Timestamp) -> str:
    """To the second, in UTC; empty where it is not set."""
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ") if time.seconds else ""


def _row(job: Job) -> list[Text]:
    result = "; ".join(filter(None, [outcome_of(job), *job.warnings]))
    before = [Text(word) for word in (job.id, _kind_word(job.kind), entity_of(job))]
    attempt = f"{job.attempt}/{job.max_attempts}"
    return [*before, state_text(job.state), Text(attempt), Text(time_text(job.create_time)), Text(result)]


def _facts(job: Job) -> list[tuple[str, str | Text]]:
    facts: list[tuple[str, str | Text]] = [("job", job.id), ("kind", _kind_word(job.kind))]
    facts += [("state", state_text(job.state)), ("attempt", f"{job.attempt} of {job.max_attempts}")]
    facts += [(name.removesuffix("_id"), value) for name, value in _asked(job).items() if name != "model"]
    facts += [("provider", job.provider), ("model", job.model)]
    facts += [("message", f"{job.msg_id} in {job.queue}" if job.msg_id else "")]
    if job.HasField("asset"):
        facts += [("url", job.asset.url), ("asset", _asset_text(job))]
    if job.HasField("error"):
        facts.append(("error", error_text(job.error)))
    facts += [("warning", warning) for warning in job.warnings]
    facts += [("label", f"{key}={value}") for key, value in sorted(job.labels.items())]
    times = {"created": job.create_time, "started": job.start_time, "ended": job.end_time}
    return facts + [(name, time_text(time)) for name, time in times.items()]


def _asset_text(job: Job) -> str:
    asset = job.asset
    text = f"{asset.media_type}, {asset.width}x{asset.height}, {asset.size_bytes} bytes"
    if asset.HasField("duration"):
        text += f", {asset.duration.ToTimedelta().total_seconds():g} s"
    return f"{text}, sha256 {asset.sha256}"


def _kind_word(kind: JobKind) -> str:
    return kind_name(kind) or "unspecified"
