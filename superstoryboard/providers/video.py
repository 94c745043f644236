"""What every video route offers, whatever its API looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from superstoryboard.providers.source import SourceImage


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """What one submit asks for; `image` becomes the first frame.

    `mark` says which row of the ledger the call is; it goes along where the provider calls a webhook.
    """

    model: str
    prompt: str
    aspect_ratio: str
    duration_seconds: int
    resolution: str
    image: SourceImage | None = None
    mark: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OperationRunning:
    """The video is being made."""


@dataclass(frozen=True)
class OperationDone:
    """The video can be downloaded; `uri` is for `download`: an address, or the operation that holds the bytes."""

    uri: str


@dataclass(frozen=True, kw_only=True)
class ListedOperation:
    """One operation of the provider's own list, with what it shows of its submit; absent where it does not."""

    name: str
    created_at: datetime | None = None
    mark: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    aspect_ratio: str | None = None
    duration_seconds: int | None = None
    resolution: str | None = None


class VideoProvider(Protocol):
    """The calls of one route. None repeats anything by itself: the ledger counts every call.

    A name is worth keeping: another object, in another process, may poll and download by it. `lists`: operations can be
    listed, as far as is known. `tells`: their names come to a webhook.
    """

    lists: bool
    tells: bool

    async def submit(self, call: VideoCall) -> str:
        """Order a video; returns the operation's name. This is the paid call.

        Raises:
            ProviderFailure: outcome UNPAID where it is settled that nothing is paid for, else UNKNOWN.
        """

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """Ask how far an operation is.

        Raises:
            ProviderFailure: outcome UNKNOWN: it may still run, poll on. UNPAID: it ended without a video. PAID: the
                video is lost.
        """

    async def download(self, uri: str, destination: Path, max_bytes: int) -> None:
        """Stream a finished video into a file, which is removed again where that fails.

        Raises:
            ProviderFailure: outcome PAID; TRANSIENT where another try may help.
            OSError: the file cannot be written.
        """

    async def recent(self, model: str) -> list[ListedOperation]:
        """The operations of a model that the provider lists, newest first where it sorts; none where it lists nothing.

        Raises:
            ProviderFailure: outcome UNKNOWN: no list came, ask again.
        """

    async def aclose(self) -> None:
        """Close the connections."""
