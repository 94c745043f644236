"""Calls that end before their answer is sent: the caller went away, or gRPC itself refused a request as too long."""

from __future__ import annotations

import logging

import grpc

LOGGER = "grpc._cython.cygrpc"


class EndedCalls(logging.Filter):
    """Keeps what gRPC says of an answer that nobody waits for out of the log.

    gRPC is silent where it knows by then that the call has ended; where it learns it a moment later, it logs an error
    with a traceback. The call has its own line from the interceptor either way.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """False for an answer that could not be sent."""
        kind = record.exc_info[0] if record.exc_info else None
        # gRPC does not export the class.
        return not (kind is not None and issubclass(kind, grpc.aio.BaseError) and kind.__name__ == "ExecuteBatchError")


_ENDED_CALLS = EndedCalls()


def quieten_ended_calls() -> None:
    """Once or more often in a process that serves."""
    logging.getLogger(LOGGER).addFilter(_ENDED_CALLS)
