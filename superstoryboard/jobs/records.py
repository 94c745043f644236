"""Rows of the database as messages of the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from superstoryboard.v1 import job_pb2

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "DEAD_LETTERED", "CANCELLED"})


def state_value(name: str) -> str:
    """The enum value, by name, of a state as the database writes it."""
    return f"JOB_STATE_{name}"


def state_name(value: int) -> str:
    """The state as the database writes it."""
    return job_pb2.JobState.Name(value).removeprefix("JOB_STATE_")


def kind_value(name: str) -> str:
    """The enum value, by name, of a kind as the database writes it."""
    return f"JOB_KIND_{name.upper()}"


def job_message(row: dict[str, Any]) -> job_pb2.Job:
    """A row of superstoryboard.job_records as Job."""
    job = job_pb2.Job(
        id=str(row["id"]),
        kind=kind_value(row["kind"]),
        state=state_value(row["state"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        queue=row["queue"],
        msg_id=row["msg_id"],
        provider=row["provider"],
        model=row["model"],
        warnings=row["warnings"],
        labels=row["labels"],
    )
    if row["generation"] is not None:
        ParseDict(row["generation"], getattr(job, row["kind"]), ignore_unknown_fields=True)
    if row["asset"] is not None:
        _fill_asset(job.asset, row["asset"])
    if row["error"] is not None:
        _fill_error(job.error, row["error"])
    for field, column in (
        ("create_time", "created_at"),
        ("start_time", "started_at"),
        ("end_time", "ended_at"),
    ):
        if row[column] is not None:
            getattr(job, field).FromDatetime(row[column])
    return job


def event_message(row: dict[str, Any]) -> job_pb2.JobEvent:
    """A row of superstoryboard.job_events as JobEvent."""
    created = Timestamp()
    created.FromDatetime(row["created_at"])
    return job_pb2.JobEvent(
        sequence=row["sequence"],
        job_id=str(row["job_id"]),
        state=state_value(row["state"]),
        attempt=row["attempt"],
        progress_percent=row["progress_percent"],
        message=row["message"],
        create_time=created,
    )


def _fill_asset(asset: job_pb2.Asset, row: dict[str, Any]) -> None:
    for name in ("bucket", "path", "url", "media_type", "size_bytes", "sha256", "width", "height"):
        setattr(asset, name, row[name])
    if row.get("url_expires_at") is not None:
        asset.url_expire_time.FromJsonString(row["url_expires_at"])
    if row["duration_ms"] is not None:
        asset.duration.FromTimedelta(timedelta(milliseconds=row["duration_ms"]))


def _fill_error(error: job_pb2.JobError, row: dict[str, Any]) -> None:
    name = f"ERROR_CLASS_{row.get('class', 'UNSPECIFIED')}"
    setattr(error, "class", job_pb2.ErrorClass.Value(name))
    error.code = row.get("code", "")
    error.message = row.get("message", "")
    error.provider_codes.extend(row.get("provider_codes") or [])
