"""Who calls, and what checks a token: one verifier for each sort of token (decision 0041)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What a caller may do: own jobs, or everything."""

    AUTHENTICATED = "authenticated"
    SERVICE_ROLE = "service_role"


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

    @property
    def storyboard_names(self) -> tuple[str, ...] | None:
        """The names under which storyboards may be its own, or None: it acts for the installation and may write all."""
        return None if self.role is Role.SERVICE_ROLE else self.identities

    @property
    def visible_owner(self) -> str | None:
        """Whose jobs it sees: its own, or None for everyone's."""
        return None if self.role is Role.SERVICE_ROLE else self.subject


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
