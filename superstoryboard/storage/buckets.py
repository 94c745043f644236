"""The buckets of this system."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from superstoryboard.domain.media import BUCKETS, Media
from superstoryboard.storage.objects import BucketOutcome, BucketRules, ObjectStore
from superstoryboard.telemetry.logs import get_logger

_log = get_logger("storage")


class UrlKind(StrEnum):
    """Which URL of an object goes into kv and answers."""

    PUBLIC = "public"
    """One that never ends; the bucket is public."""
    SIGNED = "signed"
    """One that ends after a time; the bucket is private."""


@dataclass(frozen=True)
class BucketDefinition:
    """Rules a bucket is created with; an existing bucket keeps its own. Sizes in bytes, None is no limit."""

    id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: tuple[str, ...] | None


IMAGES = BucketDefinition(BUCKETS[Media.IMAGE], True, None, ("image/png", "image/jpeg", "image/webp"))
VIDEOS = BucketDefinition(BUCKETS[Media.VIDEO], True, 104_857_600, ("video/mp4", "video/webm"))
FINAL_BUCKETS = (IMAGES, VIDEOS)


def final_buckets(images: UrlKind, videos: UrlKind) -> tuple[BucketDefinition, ...]:
    """The final buckets, public or private as their URLs need it."""
    kinds = zip(FINAL_BUCKETS, (images, videos), strict=True)
    return tuple(replace(bucket, public=kind is UrlKind.PUBLIC) for bucket, kind in kinds)


def staging_bucket(bucket: str) -> BucketDefinition:
    """The private bucket through which workers hand over their artifacts."""
    return BucketDefinition(bucket, False, None, None)


async def ensure_buckets(
    store: ObjectStore, staging: str, final: tuple[BucketDefinition, ...] = FINAL_BUCKETS
) -> dict[str, BucketOutcome]:
    """Create what is missing of the final buckets and the staging bucket; safe to run at every start.

    A bucket that exists stays as it is; what of it does not fit is logged as a warning.

    Raises:
        StorageError: CONFIG or UNAVAILABLE; buckets made before the failure stay.
    """
    outcomes = {}
    for definition in (*final, staging_bucket(staging)):
        outcomes[definition.id] = await store.ensure_bucket(
            definition.id,
            public=definition.public,
            file_size_limit=definition.file_size_limit,
            allowed_mime_types=definition.allowed_mime_types,
        )
        if outcomes[definition.id] is BucketOutcome.EXISTS:
            for sentence in misfits(definition, await store.bucket_rules(definition.id)):
                _log.warning(sentence, action="bucket_misfit", bucket=definition.id)
    return outcomes


def misfits(definition: BucketDefinition, rules: BucketRules) -> list[str]:
    """What a bucket that exists does not let us do as we want it, one sentence each, with what to do."""
    sentences = []
    if definition.public and not rules.public:
        sentences.append(
            f"The bucket {definition.id} is private, so the public URLs of its objects return 404:"
            " make it public, or set its URLs to signed"
        )
    if rules.public and not definition.public:
        sentences.append(
            f"The bucket {definition.id} is public, so anyone can read its objects without a key or a signed URL:"
            " make it private" + (", or set its URLs to public" if definition.allowed_mime_types else "")
        )
    # Staging holds whatever goes into the final buckets.
    needed = definition.file_size_limit or (None if definition.allowed_mime_types else VIDEOS.file_size_limit)
    if rules.file_size_limit is not None and needed is not None and rules.file_size_limit < needed:
        sentences.append(
            f"The bucket {definition.id} accepts objects of at most {rules.file_size_limit} bytes:"
            f" raise its limit to {needed}; jobs with larger results become dead letters"
        )
    rejected = _rejected_types(definition, rules)
    if rejected:
        sentences.append(
            f"The bucket {definition.id} does not accept {', '.join(rejected)}:"
            " add them to its allowed types; jobs with such results become dead letters"
        )
    return sentences


def _rejected_types(definition: BucketDefinition, rules: BucketRules) -> list[str]:
    if rules.allowed_mime_types is None:
        return []
    # Workers stage everything as plain bytes.
    needed = definition.allowed_mime_types or ("application/octet-stream",)
    accepted = set(rules.allowed_mime_types)
    return [each for each in needed if not {each, each.partition("/")[0] + "/*", "*/*"} & accepted]
