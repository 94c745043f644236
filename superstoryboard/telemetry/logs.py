"""JSON logs on stdout: one event a line, with what the task has bound (job id, claim, trace id)."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, merge_contextvars
from structlog.typing import FilteringBoundLogger

__all__ = ["bind_contextvars", "bound_contextvars", "configure_logs", "get_logger"]

NOISY = ("httpx", "httpcore", "aio_pika", "aiormq", "psycopg.pool", "google_genai", "hpack")


def configure_logs(service: str, level: str) -> None:
    """Set up logs of a process once, at its start; libraries that write through `logging` are kept to warnings.

    Those whose outages we log ourselves, once and not at every try, are silent.
    """
    chosen = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(sort_keys=False)],
        wrapper_class=structlog.make_filtering_bound_logger(chosen),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    bind_contextvars(service=service)
    formatter = structlog.stdlib.ProcessorFormatter(
        processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def get_logger(action: str) -> FilteringBoundLogger:
    """A logger whose lines carry the name of the part that writes them."""
    logger: FilteringBoundLogger = structlog.get_logger(component=action)
    return logger
