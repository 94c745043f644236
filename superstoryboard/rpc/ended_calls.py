"""What gRPC logs about callers and is no fault of the service.

Calls that end before their answer is sent: the caller went away, or gRPC itself refused a request as too long. And
metadata that is no UTF-8, which it would log whole, with a traceback: a token with one odd byte would stand in the log.
"""

from __future__ import annotations

import logging

import grpc

LOGGER = "grpc._cython.cygrpc"
ODD_METADATA = "Invalid encoding on "
"""How the line about metadata begins. It is then read as Latin-1, and the call goes on."""


class EndedCalls(logging.Filter):
    """Keeps what gRPC says of an answer that nobody waits for out of the log.

    gRPC is silent where it knows by then that the call has ended; where it learns it a moment later, it logs an error
    with a traceback. The call has its own line from the interceptor either way.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """False for an answer that could not be sent, and for metadata of odd bytes."""
        if str(record.msg).startswith(ODD_METADATA):
            return False
        kind = record.exc_info[0] if record.exc_info else None
        # gRPC does not export the class.
        return not (kind is not None and issubclass(kind, grpc.aio.BaseError) and kind.__name__ == "ExecuteBatchError")


_ENDED_CALLS = EndedCalls()


def quieten_ended_calls() -> None:
    """Once or more often in a process that serves."""
    logging.getLogger(LOGGER).addFilter(_ENDED_CALLS)
