"""The source image of a job: whether it is for the job's owner, and its bytes."""

from __future__ import annotations

from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.source import SourceFetcher, SourceImage


async def fetch_source(work: WorkQueue, sources: SourceFetcher, job: ClaimedJob, url: str) -> SourceImage | None:
    """The picture at a URL; None without a URL.

    Messages that came by SQL were not checked by ingest, and storyboards change hands while jobs wait.

    Raises:
        JobFailure: as `SourceFetcher.fetch`; INVALID with code SOURCE_NOT_YOURS where it lies in a private bucket, in a
            storyboard that the job's owner may not read.
    """
    if not url:
        return None
    storyboard = sources.private_storyboard(url)
    if storyboard is not None and not await work.may_use_source(job, storyboard):
        message = "sourceImageUrl is in a private bucket, in a storyboard that the job's owner may not read"
        raise JobFailure(JobError(ErrorClass.INVALID, "SOURCE_NOT_YOURS", message))
    return await sources.fetch(url)
