"""The buckets of this system."""

from __future__ import annotations

from dataclasses import dataclass

from superstoryboard.storage.objects import BucketOutcome, ObjectStore


@dataclass(frozen=True)
class BucketDefinition:
    """Rules a bucket is created with; an existing bucket keeps its own. Sizes in bytes, None is no limit."""

    id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: tuple[str, ...] | None


IMAGES = BucketDefinition("storyboard-images", True, None, ("image/png", "image/jpeg", "image/webp"))
VIDEOS = BucketDefinition("storyboard-videos", True, 104_857_600, ("video/mp4", "video/webm"))
FINAL_BUCKETS = (IMAGES, VIDEOS)


def staging_bucket(bucket: str) -> BucketDefinition:
    """The private bucket through which workers hand over their artifacts."""
    return BucketDefinition(bucket, False, None, None)


async def ensure_buckets(store: ObjectStore, staging: str) -> dict[str, BucketOutcome]:
    """Create what is missing of the final buckets and the staging bucket; safe to run at every start.

    Raises:
        StorageError: CONFIG or UNAVAILABLE; buckets made before the failure stay.
    """
    return {
        definition.id: await store.ensure_bucket(
            definition.id,
            public=definition.public,
            file_size_limit=definition.file_size_limit,
            allowed_mime_types=definition.allowed_mime_types,
        )
        for definition in (*FINAL_BUCKETS, staging_bucket(staging))
    }
