"""Reads the metrics page of a process as Prometheus does."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import wait_for

WAIT_SECONDS = 90.0


class Samples:
    """What one look at a page gave."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __repr__(self) -> str:
        return self.text

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of a series, without the prefix that all have; None where there is none."""
        return self._values.get((f"superstoryboard_{name}", frozenset(labels.items())))


def scrape(address: str) -> Samples:
    """Read the page."""
    answer = httpx.get(f"http://{address}/metrics", timeout=WAIT_SECONDS, trust_env=False).raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Samples(answer.text)


def scrape_until(address: str, shown: Callable[[Samples], bool]) -> Samples:
    """Read the page until it shows something: counts follow what callers see by a moment."""
    return wait_for(lambda: scrape(address), shown)
