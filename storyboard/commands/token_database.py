"""Service tokens where nobody can call yet: straight into the database of DATABASE_URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from storyboard.api.errors import CommandError, ExitCode
from storyboard.commands.own_database import in_database
from superstoryboard.jobs.service_tokens import Creation, ServiceTokenTable
from superstoryboard.jobs.token_records import made_token, newest_message, token_message, token_problems
from superstoryboard.rpc.validation import violations
from superstoryboard.v1 import token_service_pb2 as api

ACTOR = "database"
"""Who is recorded: whoever may write the table."""
REFUSALS = {
    Creation.TOKEN_NAME_IN_USE: "Another service token has this name. Revoke it, or choose another name.",
    Creation.TOO_MANY_TOKENS: "There are 1,000 service tokens. Revoke those that are not used.",
    Creation.QUEUE_UNKNOWN: "One of the queues does not exist. `storyboard queues` lists them.",
}
LIST_ADVICE = "`storyboard token list --database` shows all."

Result = TypeVar("Result")


@dataclass(frozen=True)
class KeptTokens:
    """The table of service tokens, written by this program itself."""

    url: str

    def create(self, request: api.CreateServiceTokenRequest) -> api.CreateServiceTokenResponse:
        if wrong := [*violations(request), *token_problems(request)]:
            raise CommandError(ExitCode.USAGE, [f"{field}: {rule}" for field, rule in wrong])
        secret, token = made_token(request)

        async def work(table: ServiceTokenTable) -> api.CreateServiceTokenResponse:
            outcome = await table.create(token, actor=ACTOR)
            if outcome is not Creation.CREATED:
                raise CommandError(ExitCode.FAILED, [REFUSALS[outcome]])
            made = newest_message(await table.listed(), token.name)
            return api.CreateServiceTokenResponse(service_token=made, token=secret)

        return self._run(work)

    def listed(self) -> list[api.ServiceToken]:
        async def work(table: ServiceTokenTable) -> list[api.ServiceToken]:
            return [token_message(row) for row in await table.listed()]

        return self._run(work)

    def revoke(self, name: str) -> None:
        async def work(table: ServiceTokenTable) -> None:
            if not await table.revoke(name, actor=ACTOR):
                raise CommandError(
                    ExitCode.FAILED, [f"There is no service token {name} that is not revoked.", LIST_ADVICE]
                )

        self._run(work)

    def _run(self, work: Callable[[ServiceTokenTable], Awaitable[Result]]) -> Result:
        return in_database(self.url, "The tokens", lambda database: work(ServiceTokenTable(database)))
