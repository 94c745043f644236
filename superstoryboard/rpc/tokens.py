"""Who calls, and what checks a token: one verifier for each sort of token (decisions 0041 and 0043)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from superstoryboard.domain.quotas import QuotaScope


class Role(StrEnum):
    """What a caller may do; rpc/permissions.py says what that is."""

    AUTHENTICATED = "authenticated"
    WORKER = "worker"
    SERVICE_ROLE = "service_role"


class Sees(StrEnum):
    """What a call shows or changes."""

    REFUSED = "–"
    OWN = "own jobs"
    OWN_QUEUES = "its queues"
    ALL = "everything"


@dataclass(frozen=True)
class Principal:
    """A caller: the owner of the jobs it makes, its role, and when its token ends in Unix seconds, if it does."""

    subject: str
    role: Role
    expires_at: float | None = None
    identities: tuple[str, ...] = ()
    """Every value of the claims in OWNER_CLAIMS: the names under which a storyboard may belong to this caller."""
    anonymous: bool = False
    """Signed in without an account."""
    actor: str = ""
    """The service that acts for `subject`; empty where the caller acts for itself."""
    sees: Sees = Sees.OWN
    """What the running call shows, by the table of permissions."""
    queues: tuple[str, ...] = ()
    """Of an outside worker."""
    sha256: str = field(default="", repr=False)
    """Of its service token; empty where it came with another sort of token."""

    @property
    def storyboard_names(self) -> tuple[str, ...] | None:
        """The names under which storyboards may be its own, or None: it acts for the installation and may write all."""
        return None if self.visible_owner is None else self.identities

    @property
    def visible_owner(self) -> str | None:
        """Whose jobs the running call sees: its own, or None for everyone's."""
        return None if self.sees is Sees.ALL else self.subject

    @property
    def done_by(self) -> str:
        """Who is recorded as having done what the call does: the service, where it acts for somebody."""
        return self.actor or self.subject

    @property
    def quota_scope(self) -> QuotaScope:
        """Which quotas hold for the jobs that it makes."""
        if self.visible_owner is None:
            return QuotaScope.NONE
        return QuotaScope.ANONYMOUS if self.anonymous else QuotaScope.EVERYONE


class Verifier(Protocol):
    """Checks one sort of token, which it knows by its shape."""

    def takes(self, token: str) -> bool:
        """Whether the token has this shape; nothing is checked yet."""
        ...

    def verify(self, token: str) -> Principal:
        """The caller behind a token of this shape, at once: a verifier never waits for the network.

        Raises:
            ApiError: the token is refused, with a message that is safe to tell the caller.
        """
        ...
