"""Rows of the database as messages of the API."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from superstoryboard.domain.kinds import KINDS, kind_number
from superstoryboard.domain.states import state_value
from superstoryboard.foreign_json import decoded_json
from superstoryboard.v1 import job_pb2

DOCUMENTS = ("generation", "labels", "error", "asset")
"""Columns of job_records that hold a JSON object as text, null also where it is too large to show."""


def read_record(row: dict[str, Any]) -> dict[str, Any]:
    """A row of superstoryboard.job_records with its documents read.

    A document that is no object, too deep, or holds numbers of thousands of digits is None: whoever may write SQL may
    have put it there, and it must not hide the other jobs.
    """
    documents: dict[str, Any] = {name: _document(row[name]) for name in DOCUMENTS}
    return row | documents | {"assets": decoded_json(row["assets"] or "[]") or []}


def _document(text: str | None) -> dict[str, Any] | None:
    value = decoded_json(text) if text is not None else None
    return value if isinstance(value, dict) else None


def job_message(row: dict[str, Any]) -> job_pb2.Job:
    """A row as `read_record` gives it as Job."""
    job = job_pb2.Job(
        id=str(row["id"]),
        kind=kind_number(row["kind"]),
        state=state_value(row["state"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        queue=row["queue"],
        msg_id=row["msg_id"],
        provider=row["provider"],
        model=row["model"],
        warnings=[warning for warning in row["warnings"] if warning is not None],
        labels={key: str(value) for key, value in (row["labels"] or {}).items()},
    )
    kind = KINDS.get(row["kind"])
    if kind is not None and kind.field and row["generation"] is not None:
        generation = getattr(job, kind.field)
        generation.SetInParent()
        with suppress(ParseError):
            ParseDict(row["generation"], generation, ignore_unknown_fields=True)
    if row["asset"] is not None:
        _fill_asset(job.asset, row["asset"])
    for asset in row["assets"]:
        _fill_asset(job.assets.add(), asset)
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
    name = f"ERROR_CLASS_{row.get('class')}"
    if name in job_pb2.ErrorClass.keys():  # noqa: SIM118 - an enum, no dict
        setattr(error, "class", job_pb2.ErrorClass.Value(name))
    error.code = str(row.get("code", ""))
    error.message = str(row.get("message", ""))
    codes = row.get("provider_codes")
    if isinstance(codes, list):
        error.provider_codes.extend(str(code) for code in codes)
