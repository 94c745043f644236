"""A bare grpc.aio server that answers a request with its own contents: what this contract costs in Python by itself."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1.generation_service_pb2_grpc import (
    GenerationServiceServicer,
    add_GenerationServiceServicer_to_server,
)
from superstoryboard.v1.job_pb2 import Job


class Echo(GenerationServiceServicer):
    """Neither looks at the caller nor keeps anything."""

    async def CreateImageJob(  # noqa: N802 - the name of the contract
        self, request: api.CreateImageJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> api.CreateImageJobResponse:
        """The request's generation as a job."""
        del context
        return api.CreateImageJobResponse(job=Job(image=request.image))


async def serve(address: str) -> None:
    """Serve until ended by a signal."""
    server = grpc.aio.server()
    answers = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in grpc-stubs
    health_pb2_grpc.add_HealthServicer_to_server(answers, server)
    add_GenerationServiceServicer_to_server(Echo(), server)
    server.add_insecure_port(address)
    await server.start()
    await answers.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
