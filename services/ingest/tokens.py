"""TokenService: service tokens are made, listed and revoked."""

from __future__ import annotations

from typing import Any

import grpc

from superstoryboard.jobs.service_tokens import Creation, ServiceTokenTable
from superstoryboard.jobs.token_records import made_token, newest_message, token_message, token_problems
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import ApiError, invalid, not_found
from superstoryboard.rpc.validation import violations
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.v1 import token_service_pb2 as api
from superstoryboard.v1.token_service_pb2_grpc import TokenServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

log = get_logger("service_tokens")


class TokenService(TokenServiceServicer):
    """What operators do with service tokens."""

    def __init__(self, tokens: ServiceTokenTable) -> None:
        self._tokens = tokens

    async def CreateServiceToken(
        self, request: api.CreateServiceTokenRequest, context: Context
    ) -> api.CreateServiceTokenResponse:
        """Make a token; it is in the answer and nowhere else."""
        del context
        if wrong := [*violations(request), *token_problems(request)]:
            raise invalid(wrong)
        actor = caller().done_by
        secret, token = made_token(request)
        outcome = await self._tokens.create(token, actor=actor)
        if outcome is not Creation.CREATED:
            raise _refused(outcome)
        log.info("Created a service token", token_name=token.name, role=token.role, owner=token.owner, by=actor)
        made = newest_message(await self._tokens.listed(), token.name)
        return api.CreateServiceTokenResponse(service_token=made, token=secret)

    async def ListServiceTokens(
        self, request: api.ListServiceTokensRequest, context: Context
    ) -> api.ListServiceTokensResponse:
        """All tokens that are kept."""
        del request, context
        return api.ListServiceTokensResponse(service_tokens=[token_message(row) for row in await self._tokens.listed()])

    async def RevokeServiceToken(
        self, request: api.RevokeServiceTokenRequest, context: Context
    ) -> api.RevokeServiceTokenResponse:
        """End a token for good."""
        del context
        if wrong := violations(request):
            raise invalid(wrong)
        actor = caller().done_by
        if not await self._tokens.revoke(request.name, actor=actor):
            raise not_found(f"a service token {request.name} that is not revoked")
        log.info("Revoked a service token", token_name=request.name, by=actor)
        return api.RevokeServiceTokenResponse()


def _refused(outcome: Creation) -> ApiError:
    if outcome is Creation.QUEUE_UNKNOWN:
        return not_found("one of the queues")
    if outcome is Creation.TOO_MANY_TOKENS:
        message = "there are 1,000 service tokens; revoke those that are not used"
        return ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TOKENS", message)
    message = "another service token has this name; revoke it, or choose another name"
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, "TOKEN_NAME_IN_USE", message)
