"""An image is decoded as often as it must: each of two processes does it once, and neither believes the other."""

from __future__ import annotations

import psutil
import pytest

from tests.e2e.pipeline import Pipeline

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("running_pipeline", ["rows"], indirect=True)]


def read_by_decoder(running: Pipeline, service: str) -> int:
    """How many bytes the decoding process of a service has read so far, as the system counts them."""
    (decoder,) = psutil.Process(running.services[service].pid).children()
    return int(decoder.io_counters().read_chars)


def test_an_image_is_decoded_once_by_its_worker_and_once_by_the_asset_writer(running_pipeline: Pipeline) -> None:
    running = running_pipeline
    services = ("image_worker", "asset_writer")
    running.succeeded(running.image("decodes"))  # the decoding processes have loaded their libraries
    before = {service: read_by_decoder(running, service) for service in services}
    (job,) = running.succeeded(running.image("decodes", "a bear in the snow"))
    size = job.asset.size_bytes
    for service in services:
        assert size <= read_by_decoder(running, service) - before[service] < 2 * size, service
