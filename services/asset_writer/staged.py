"""Reads staged bytes and proves them. One odd answer proves nothing: what seems gone or wrong is a doubt."""

from __future__ import annotations

from pathlib import Path

from superstoryboard.jobs.artifacts import StagedArtifact
from superstoryboard.media.types import MediaError
from superstoryboard.media.verify import probe
from superstoryboard.storage.download import Downloaded
from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.objects import ObjectStore

UNEXPECTED = frozenset({StorageErrorKind.MISSING, StorageErrorKind.TOO_LARGE})
"""Answers to a read that say something of the object, not of Storage."""


class DoubtfulBytesError(Exception):
    """The staged object seems gone, or is not what the worker staged, by Storage's own word and by a read."""


class UnusableBytesError(Exception):
    """The staged object is what the worker staged, to the last bit, and cannot be stored as what it was said to be."""


async def fetch_staged(store: ObjectStore, artifact: StagedArtifact, file: Path) -> None:
    """Stream the staged object into a file and prove size, hash and real media type.

    Raises:
        DoubtfulBytesError: it seems gone or wrong.
        UnusableBytesError: it is whole, and not of its media type.
        StorageError: it cannot be read now; so too where the body is not of the size that Storage says it holds.
        OSError: the file cannot be written.
    """
    read = await _read(store, artifact.staging_bucket, artifact.staging_key, file, artifact.size_bytes)
    if not _same(read, artifact):
        raise await _doubt(store, artifact, read)
    try:
        facts = await probe(file)
    except MediaError as error:
        raise UnusableBytesError(f"the staged object cannot be read: {error}") from error
    if facts.media_type.value != artifact.media_type:
        raise UnusableBytesError(f"the staged object is {facts.media_type.value}, not {artifact.media_type}")


async def is_written(store: ObjectStore, artifact: StagedArtifact, file: Path) -> bool:
    """True where the final object has the right size and hash: a writer before this one was stopped at the finish."""
    return _same(await _read(store, artifact.bucket, artifact.path, file, artifact.size_bytes), artifact)


async def _read(store: ObjectStore, bucket: str, key: str, file: Path, size_bytes: int) -> Downloaded | None:
    """What a read brought; None for an answer that the object is missing or larger."""
    try:
        return await store.download_to(bucket, key, file, size_bytes)
    except StorageError as error:
        if error.kind in UNEXPECTED:
            return None
        raise


def _same(read: Downloaded | None, artifact: StagedArtifact) -> bool:
    return read is not None and (read.size_bytes, read.sha256) == (artifact.size_bytes, artifact.sha256)


async def _doubt(store: ObjectStore, artifact: StagedArtifact, read: Downloaded | None) -> Exception:
    """What Storage itself says of the object decides whether an unexpected read is a doubt or only to be repeated."""
    stat = await store.stat(artifact.staging_bucket, artifact.staging_key)
    if stat is None:
        # To a key that may not see the bucket, everything in it is missing.
        await store.bucket_rules(artifact.staging_bucket)
        return DoubtfulBytesError("the staged object is missing")
    if stat.size_bytes != artifact.size_bytes:
        return DoubtfulBytesError(f"the staged object has {stat.size_bytes} bytes instead of {artifact.size_bytes}")
    if read is None or read.size_bytes != artifact.size_bytes:
        return StorageError(StorageErrorKind.UNAVAILABLE, "Storage returned a different body than the stored object")
    return DoubtfulBytesError("the hash of the staged object differs from the one that the worker recorded")
