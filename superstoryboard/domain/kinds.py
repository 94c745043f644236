"""What a kind of job is (decision 0038). The table superstoryboard.job_kinds has the same, and a test compares them.

Queue, media, charging and the name of a kind are four things: kinds may share a queue, and one may cost nothing, have
no model, no storyboard, or results whose media only their bytes tell. Whether a call may be repeated its route says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from google.protobuf.message import Message

from superstoryboard.domain.media import BUCKETS, Media
from superstoryboard.v1.job_pb2 import ImageGeneration, JobKind, VideoGeneration


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of job.

    `number` is its value of the proto enum JobKind, `message` what a job of it asks for, and `field` the member of the
    oneof `generation` that holds such a message; empty where no message of the API has one. `media` and `bucket` are
    None where the bytes of a result decide. `link` begins the keys under which a scene or character shows the result,
    as in `imageUrl`; None: the media of the bytes. `charged`: its calls are paid for, so that it has a model, a gate
    and rows in the ledger. `sent_publicly`: a message that anyone sends to the queue is of this kind. `batch` is how
    many messages ProcessQueue takes by default, and `processed` what it says of their number.
    """

    name: str
    number: JobKind
    queue: str
    message: type[Message]
    field: str = ""
    media: Media | None = None
    bucket: str | None = None
    link: str | None = None
    charged: bool = False
    max_results: int = 1
    sent_publicly: bool = False
    batch: int = 1
    processed: str = "Processed {} message(s)"

    @property
    def plural(self) -> str:
        """The word of the command line for its jobs, models and queue."""
        return f"{self.name}s"

    @property
    def model_setting(self) -> str:
        """Setting that names the model of requests which name none, for a kind that is charged."""
        return f"{self.name.upper()}_MODEL"

    def bucket_of(self, media: Media) -> str:
        """The bucket of a result of that media."""
        return self.bucket or BUCKETS[media]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="image",
            number=JobKind.JOB_KIND_IMAGE,
            queue="image_generation_queue",
            message=ImageGeneration,
            field="image",
            media=Media.IMAGE,
            bucket=BUCKETS[Media.IMAGE],
            link="image",
            charged=True,
            sent_publicly=True,
            batch=5,
            processed="Processed {} messages",
        ),
        Kind(
            name="video",
            number=JobKind.JOB_KIND_VIDEO,
            queue="video_generation_queue",
            message=VideoGeneration,
            field="video",
            media=Media.VIDEO,
            bucket=BUCKETS[Media.VIDEO],
            link="video",
            charged=True,
            sent_publicly=True,
        ),
    )
}
"""Every kind, by its name in the database."""

IMAGE, VIDEO = KINDS["image"], KINDS["video"]

Plural = Literal["images", "videos"]
"""What a command takes for one of the kinds; a test compares them."""


def charged_kinds() -> list[Kind]:
    """The kinds whose jobs call a model."""
    return [kind for kind in KINDS.values() if kind.charged]


def kind_number(name: str | None) -> JobKind:
    """The value of the enum JobKind of a kind as the database writes it; 0 for one that this release does not know."""
    kind = KINDS.get(name or "")
    return kind.number if kind else JobKind.JOB_KIND_UNSPECIFIED


def kind_name(number: int) -> str:
    """The kind as the database writes it; empty for JOB_KIND_UNSPECIFIED."""
    return next((kind.name for kind in KINDS.values() if kind.number == number), "")


def kind_of_plural(plural: Plural) -> Kind:
    """The kind that a command was given."""
    return next(kind for kind in KINDS.values() if kind.plural == plural)


def kind_of_message(message: Message) -> Kind:
    """The kind of which a job asks for such a message.

    Raises:
        TypeError: no kind has such messages.
    """
    for kind in KINDS.values():
        if kind.message is type(message):
            return kind
    raise TypeError(f"{type(message).__name__} is no generation")


def kind_of_request(request: Message) -> Kind:
    """The kind of a request to create a job: that whose generation it has a field for.

    Raises:
        TypeError: it is no such request.
    """
    for kind in KINDS.values():
        field = request.DESCRIPTOR.fields_by_name.get(kind.field)
        if field is not None and field.message_type == kind.message.DESCRIPTOR:
            return kind
    raise TypeError(f"{type(request).__name__} creates no job")
