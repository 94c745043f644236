"""gRPC's asyncio server, without the fault that lets anyone who can connect stop it.

gRPC decodes the path of every call to a method that it does not know as UTF-8, in the one task that takes all calls: a
single path with other bytes ends that task, and with it the server (grpcio 1.85). Methods that were registered, as all
of ours are, have their path compared in the core. So here unknown methods are answered without looking at the path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # not in grpc-stubs

ENDED = (cygrpc.AbortError, grpc.aio.BaseError)
"""How an answer to a refused call ends: as it should, or because the caller is gone."""


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # untyped
    """The part of a server that takes calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *rest: Any) -> None:
        super().__init__(loop, *rest)
        self._of_loop = loop
        self._refusals: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """The next call of a registered method; for all others a task that refuses them and never has a result."""
        if method is None:
            return self._of_loop.create_task(self._refuse_unknown())
        return super()._make_request_call_future(method)

    async def _refuse_unknown(self) -> None:
        while True:
            state = await self._request_call()
            context = cygrpc._ServicerContext(state, None, None, self._of_loop)  # noqa: SLF001 - it has no other name
            refusal = self._of_loop.create_task(_refuse(context))
            self._refusals.add(refusal)
            refusal.add_done_callback(self._refusals.discard)


async def _refuse(context: Any) -> None:
    with suppress(*ENDED):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server has no such method")


def aio_server(interceptors: Sequence[Any], options: Sequence[tuple[str, int]]) -> grpc.aio.Server:
    """A server as `grpc.aio.server` makes it, for services whose generated code registers their methods."""
    core = cygrpc.AioServer
    cygrpc.AioServer = _Core
    try:
        return grpc.aio.server(interceptors=interceptors, options=options)
    finally:
        cygrpc.AioServer = core
