"""The source image of a job: whether it is for the job's owner, and its bytes."""

from __future__ import annotations

from functools import partial

from superstoryboard.jobs.queue import ClaimedJob, WorkQueue
from superstoryboard.providers.source import SourceFetcher, SourceImage


async def fetch_source(work: WorkQueue, sources: SourceFetcher, job: ClaimedJob, url: str) -> SourceImage | None:
    """The picture at a URL; None without a URL.

    Messages that came by SQL were not checked by ingest, storyboards change hands while jobs wait, and redirects may
    lead anywhere.

    Raises:
        JobFailure: as `SourceFetcher.fetch`.
    """
    return await sources.fetch(url, partial(work.may_use_source, job)) if url else None
