"""Service tokens of calls, and callers that act on behalf of an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import grpc

from superstoryboard.domain.service_tokens import PREFIX, fingerprint, has_form, owner_problem
from superstoryboard.rpc.errors import ApiError
from superstoryboard.rpc.token_copy import TokenCopy
from superstoryboard.rpc.tokens import Principal, Role

ON_BEHALF_OF = ("on_behalf_of", "on-behalf-of")
"""Metadata that names an owner. Some proxies drop names with an underscore, and the call would be the service's own."""


class ServiceTokenVerifier:
    """Takes service tokens: known by their prefix, found by their hash."""

    def __init__(self, copy: TokenCopy) -> None:
        self._copy = copy

    def takes(self, token: str) -> bool:
        """What begins as service tokens do, so that no JWT is one."""
        return token.startswith(PREFIX)

    def verify(self, token: str) -> Principal:
        """The caller behind a service token.

        Raises:
            ApiError: UNAUTHENTICATED with the rule that is broken; UNAVAILABLE while no tokens are known.
        """
        if not has_form(token):
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_INVALID",
                "the token is not valid: it is a service token that was cut or changed",
            )
        kept = self._copy.find(fingerprint(token))
        subject = kept.owner or kept.name
        return Principal(
            subject,
            Role(kept.role),
            kept.expires_at.timestamp() if kept.expires_at else None,
            identities=(subject,),
            actor=kept.name if kept.owner else "",
            queues=kept.queues,
            sha256=kept.sha256,
        )


def acting_for(principal: Principal, metadata: Sequence[tuple[str, str | bytes]]) -> Principal:
    """The caller as the metadata `on_behalf_of` makes it: the owner that it names, with the service as actor.

    Raises:
        ApiError: the caller may not act for this owner, or no owner is called so.
    """
    owners = [str(value) for key, value in metadata if key in ON_BEHALF_OF]
    if not owners:
        return principal
    if principal.role is not Role.SERVICE_ROLE:
        _refuse("only a token of role service_role may be used on behalf of an owner")
    if len(owners) > 1:
        _invalid("send the metadata `on_behalf_of` only once")
    (owner,) = owners
    if (problem := owner_problem(owner)) is not None:
        _invalid(f"the metadata `on_behalf_of` {problem}")
    if principal.actor:
        if owner != principal.subject:
            _refuse("this service token acts for one owner, which is another one")
        return principal
    return replace(principal, subject=owner, actor=principal.subject, identities=(owner,))


def _refuse(message: str) -> NoReturn:
    raise ApiError(grpc.StatusCode.PERMISSION_DENIED, "ON_BEHALF_OF_REFUSED", message)


def _invalid(message: str) -> NoReturn:
    raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, "ON_BEHALF_OF_INVALID", message)
