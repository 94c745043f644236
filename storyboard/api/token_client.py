"""Calls to TokenService, which need the role service_role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from storyboard.api.client import CALL_SECONDS, Metadata, caller_metadata, connect
from storyboard.api.rpc_errors import spoken_errors
from storyboard.api.settings import Endpoint, ingest_endpoint
from superstoryboard.v1 import token_service_pb2 as api
from superstoryboard.v1.token_service_pb2_grpc import TokenServiceStub


class Tokens(Protocol):
    """Service tokens of an installation. Every method raises CommandError where it fails."""

    def create(self, request: api.CreateServiceTokenRequest) -> api.CreateServiceTokenResponse: ...

    def listed(self) -> list[api.ServiceToken]: ...

    def revoke(self, name: str) -> None: ...


@dataclass(frozen=True)
class CalledTokens:
    """TokenService."""

    endpoint: Endpoint
    stub: TokenServiceStub
    metadata: Metadata

    def create(self, request: api.CreateServiceTokenRequest) -> api.CreateServiceTokenResponse:
        with spoken_errors(self.endpoint):
            return self.stub.CreateServiceToken(request, timeout=CALL_SECONDS, metadata=self.metadata)

    def listed(self) -> list[api.ServiceToken]:
        with spoken_errors(self.endpoint):
            answer = self.stub.ListServiceTokens(
                api.ListServiceTokensRequest(), timeout=CALL_SECONDS, metadata=self.metadata
            )
        return list(answer.service_tokens)

    def revoke(self, name: str) -> None:
        request = api.RevokeServiceTokenRequest(name=name)
        with spoken_errors(self.endpoint):
            self.stub.RevokeServiceToken(request, timeout=CALL_SECONDS, metadata=self.metadata)


@contextmanager
def connect_tokens() -> Iterator[CalledTokens]:
    """TokenService of the ingest service of INGEST_ADDRESS."""
    endpoint = ingest_endpoint()
    with connect(endpoint) as channel:
        yield CalledTokens(endpoint, TokenServiceStub(channel), caller_metadata())
