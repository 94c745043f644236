"""WorkerService on the asset_writer: what it does now. It has no queue to process."""

from __future__ import annotations

from typing import Any

import grpc

from superstoryboard.v1 import worker_service_pb2 as api
from superstoryboard.v1.worker_service_pb2_grpc import WorkerServiceServicer

from .consume import Consumer

Context = grpc.aio.ServicerContext[Any, Any]


class WriterStatus(WorkerServiceServicer):
    """Serves GetStatus."""

    def __init__(self, consumer: Consumer, worker_id: str, concurrency: int) -> None:
        self._consumer = consumer
        self._worker_id = worker_id
        self._concurrency = concurrency

    async def GetStatus(self, request: api.GetStatusRequest, context: Context) -> api.GetStatusResponse:
        """Identity, concurrency and whether it stops."""
        del request, context
        return api.GetStatusResponse(
            worker_id=self._worker_id, concurrency=self._concurrency, draining=self._consumer.stopping
        )
