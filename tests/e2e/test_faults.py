"""The short form of `make faults`: some rows of the matrix with few jobs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.faults.__main__ import faults_of, run_row
from tests.faults.rows import ROWS
from tests.faults.variants import VARIANTS, Variant
from tests.faults.world import World, world

IMAGES, VIDEOS = 5, 3
SEED = 20_261_121
BY_NAME = {row.name: (number, row) for number, row in enumerate(ROWS)}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def broken() -> Iterator[World]:
    with world(SEED) as started:
        yield started


@pytest.mark.parametrize(
    "name",
    [
        "kill -9 image_worker at random",
        "kill -9 video_worker at random",
        "kill -9 asset_writer at random",
        "RabbitMQ restarts",
        "deliveries come twice",
        "Storage answers 500",
        "Google answers 429",
        "two attempts at one job",
        "answers of COMMIT are lost",
        "poison messages in front",
    ],
)
def test_nothing_is_lost_and_nothing_is_paid_twice(broken: World, name: str) -> None:
    number, row = BY_NAME[name]
    counts = run_row(broken, number, row, IMAGES, VIDEOS)
    assert not faults_of(row, counts), counts
    assert counts.assets == counts.succeeded


def test_removed_messages_cancel_their_jobs(broken: World) -> None:
    number, row = BY_NAME["messages are removed by hand"]
    counts = run_row(broken, number, row, IMAGES, VIDEOS)
    assert not faults_of(row, counts), counts
    assert counts.cancelled == 3


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.function], ids=lambda variant: variant.name)
def test_a_broken_variant_still_breaks_one_line(variant: Variant, sql: psycopg.Connection) -> None:
    variant.apply(sql)
