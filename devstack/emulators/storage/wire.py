"""Rows as the JSON that Storage answers."""

from datetime import UTC, datetime
from typing import Any

from .incoming import Upload

Row = dict[str, Any]


def iso(moment: datetime | None) -> str | None:
    """A time as Storage writes it: UTC, milliseconds, `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(row: Row) -> Row:
    """A row with times and UUIDs as text."""
    return {key: _plain_value(value) for key, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if value is None or isinstance(value, str | int | dict | list):
        return value
    return str(value)


def bucket_json(row: Row) -> Row:
    return {**plain(row), "owner": str(row["owner"] or ""), "type": "STANDARD"}


def object_info(row: Row) -> Row:
    """The answer of `/object/info`."""
    metadata = row["metadata"]
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "version": row["version"],
        "bucket_id": row["bucket_id"],
        "size": metadata["size"],
        "content_type": metadata["mimetype"],
        "cache_control": metadata["cacheControl"],
        "etag": metadata["eTag"],
        "metadata": {},
        "last_modified": metadata["lastModified"],
        "created_at": iso(row["created_at"]),
    }


def object_metadata(upload: Upload) -> Row:
    """The `metadata` column that Storage writes for an upload."""
    return {
        "eTag": upload.etag,
        "size": upload.size_bytes,
        "mimetype": upload.media_type,
        "cacheControl": upload.cache_control,
        "lastModified": iso(datetime.now(UTC)),
        "contentLength": upload.size_bytes,
        "httpStatusCode": 200,
    }
