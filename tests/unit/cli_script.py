"""What a scripted service is to answer, and what it was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from superstoryboard.rpc.errors import ApiError
from superstoryboard.v1 import queue_service_pb2 as queue
from superstoryboard.v1 import token_service_pb2 as token
from superstoryboard.v1 import worker_service_pb2 as worker
from superstoryboard.v1.job_pb2 import Job, JobEvent

QUEUE_NAMES = ("image_generation_queue", "video_generation_queue")


@dataclass
class Script:
    """What the services answer: the first word of a prompt decides how its job ends."""

    jobs: dict[str, Job] = field(default_factory=dict)
    events: list[JobEvent] = field(default_factory=list)
    # How often a watch breaks after one more event.
    breaks: int = 0
    # How often a watch breaks before any event.
    fruitless: int = 0
    # A watch that is held waits after its first event.
    hold: threading.Event = field(default_factory=threading.Event)
    error: ApiError | None = None
    # Calls that go well before the error comes.
    good_calls: int = 0
    # What every item of a batch is refused for.
    refused_item: ApiError | None = None
    processed: worker.ProcessQueueResponse = field(default_factory=worker.ProcessQueueResponse)
    queues: dict[str, queue.Queue] = field(
        default_factory=lambda: {name: queue.Queue(name=name, depth=3) for name in QUEUE_NAMES}
    )
    swept: queue.SweepResponse = field(default_factory=queue.SweepResponse)
    tokens: list[token.ServiceToken] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)

    def of_type(self, kind: type[Any]) -> list[Any]:
        """Requests of one type, in the order they came."""
        return [request for request in self.requests if isinstance(request, kind)]
