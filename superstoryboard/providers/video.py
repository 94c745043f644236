"""What every video route offers, whatever its API looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from superstoryboard.providers.source import SourceImage


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """What one submit asks for; `image` becomes the first frame."""

    model: str
    prompt: str
    aspect_ratio: str
    duration_seconds: int
    resolution: str
    image: SourceImage | None = None


@dataclass(frozen=True)
class OperationRunning:
    """The video is being made."""


@dataclass(frozen=True)
class OperationDone:
    """The video can be downloaded; `uri` is for `download`: an address, or the operation that holds the bytes."""

    uri: str


class VideoProvider(Protocol):
    """The calls of one route. None repeats anything by itself: the ledger counts every call.

    A name is worth keeping: another object, in another process, may poll and download by it.
    """

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

    async def aclose(self) -> None:
        """Close the connections."""
