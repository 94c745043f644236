"""An answer that nobody waits for any more is no error of the service; every other error of gRPC is logged."""

from __future__ import annotations

import logging

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # not in grpc-stubs

from superstoryboard.rpc.ended_calls import LOGGER, quieten_ended_calls


def test_only_answers_that_nobody_waits_for_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    quieten_ended_calls()
    quieten_ended_calls()
    logger = logging.getLogger(LOGGER)
    logger.error("no answer could be sent", exc_info=cygrpc.ExecuteBatchError("Failed"))
    for error in (cygrpc.UsageError("twice"), ValueError("a bug")):
        logger.error("%s", error, exc_info=error)
    logger.error("without an exception")
    assert [record.getMessage() for record in caplog.records] == ["twice", "a bug", "without an exception"]


def test_metadata_of_odd_bytes_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    quieten_ended_calls()
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    logging.getLogger(LOGGER).error("Invalid encoding on %s", b"Bearer a-token\xff", exc_info=error)
    assert not caplog.records
