"""Routes: the APIs by which models are called, and what each offers whatever it looks like.

Of an ANSWER route the call itself brings the bytes. Of an OPERATION route a submit brings a name, by which the result
is asked for until it can be downloaded. A new route is a row of `ROUTES`, an adapter, and a line in a worker's wiring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from superstoryboard.domain.media import Media
from superstoryboard.domain.routes import RouteShape

if TYPE_CHECKING:
    from superstoryboard.providers.source import SourceImage

_KEY = "GOOGLE_GENERATIVE_AI_API_KEY"
_MODEL = r"(?P<model>[A-Za-z0-9][A-Za-z0-9._-]*)"
_ID = r"[A-Za-z0-9][A-Za-z0-9._~-]*"
_PARENT = r"(?:projects/[A-Za-z0-9:._-]+/locations/[a-z0-9-]+/)?publishers/google/"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route. `makes` is the media of its results; `needs` the setting without which a worker cannot call it.

    `operation_names` is the pattern of the names that it gives to operations, with the model where a name holds it, and
    `name_form` the same for people. `by_key`: its models are listed for an API key.
    """

    makes: Media
    shape: RouteShape
    needs: str = ""
    operation_names: str = ""
    name_form: str = ""
    by_key: bool = False


ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        "gemini_image": Route(makes=Media.IMAGE, shape=RouteShape.ANSWER, needs=_KEY, by_key=True),
        "veo_gemini": Route(
            makes=Media.VIDEO,
            shape=RouteShape.OPERATION,
            needs=_KEY,
            operation_names=f"models/{_MODEL}/operations/{_ID}",
            name_form="models/MODEL/operations/ID",
            by_key=True,
        ),
        "veo_vertex": Route(
            makes=Media.VIDEO,
            shape=RouteShape.OPERATION,
            needs="GOOGLE_VERTEX_API_KEY, or GOOGLE_VERTEX_PROJECT with Google credentials",
            operation_names=f"{_PARENT}models/{_MODEL}/operations/{_ID}",
            name_form="projects/PROJECT/locations/LOCATION/publishers/google/models/MODEL/operations/ID",
        ),
        "interactions": Route(
            makes=Media.VIDEO,
            shape=RouteShape.OPERATION,
            needs=_KEY,
            operation_names=r"[A-Za-z0-9][A-Za-z0-9._~:=-]*",
            name_form="the interaction's id, such as v1_…",
            by_key=True,
        ),
        # Called by nobody: its entries of the catalogue only say what became of those names.
        "imagen": Route(makes=Media.IMAGE, shape=RouteShape.ANSWER),
    }
)
"""By the name that entries of the catalogue and rows of the ledger have."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one paid call asks for; what is empty is left to the model, or there is no such choice.

    An operation takes the first of `sources` as its first frame. `mark` says which row of the ledger the call is; it
    goes along where the provider calls a webhook.
    """

    model: str
    prompt: str
    aspect_ratio: str = ""
    duration_seconds: int = 0
    resolution: str = ""
    sources: tuple[SourceImage, ...] = ()
    mark: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OperationRunning:
    """The result is being made."""


@dataclass(frozen=True)
class OperationDone:
    """The result can be downloaded; `location` is for `download` of the same route, and means nothing elsewhere."""

    location: str


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


class AnswerRoute(Protocol):
    """The calls of one route that answers at once. None repeats anything by itself: the ledger counts every call."""

    async def generate(self, call: Call, *, timeout_seconds: float) -> bytes:
        """Make one result; returns its bytes as they came, not yet verified. This is the paid call.

        Raises:
            ProviderFailure: the class decides the retry, `outcome` says what is known of the payment.
        """

    async def aclose(self) -> None:
        """Close the connections."""


class OperationRoute(Protocol):
    """The calls of one route that gives names of operations. None repeats anything by itself, as above.

    A name is worth keeping: another object, in another process, may poll and download by it. `lists`: operations can be
    listed, as far as is known. `tells`: their names come to a webhook.
    """

    lists: bool
    tells: bool

    async def submit(self, call: Call) -> str:
        """Order a result; returns the operation's name. This is the paid call.

        Raises:
            ProviderFailure: outcome UNPAID where it is settled that nothing is paid for, else UNKNOWN.
        """

    async def poll(self, name: str) -> OperationRunning | OperationDone:
        """Ask how far an operation is.

        Raises:
            ProviderFailure: outcome UNKNOWN: it may still run, poll on. UNPAID: it ended without a result. PAID: the
                result is lost.
        """

    async def download(self, location: str, destination: Path, max_bytes: int) -> None:
        """Stream a finished result into a file, which is removed again where that fails.

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
