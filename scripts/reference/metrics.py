"""Metrics: every group of `superstoryboard.telemetry`, made for a registry that remembers what it was given."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics

from reference.page import code, page, table
from superstoryboard import telemetry

SUFFIXES = {"counter": "_total"}


class RememberingRegistry(CollectorRegistry):
    """Keeps the collectors in the order in which they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Any] = []

    def register(self, collector: Any) -> None:
        """As the base does, and remember."""
        self.collectors.append(collector)
        super().register(collector)


def metrics_page() -> str:
    """docs/reference/metrics.md."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = RememberingRegistry()
    for group in _groups():
        group(registry=registry, **({"models": ()} if "models" in inspect.signature(group).parameters else {}))
    introduction = (
        "What a process counts, served where `METRICS_LISTEN` is set. Who shows what, and how to read it in trouble, "
        "is in the [RUNBOOK](../RUNBOOK.md#metrics). Besides these there is `process_…`: memory, processor time and "
        "open files."
    )
    rows = sorted(_row(collector) for collector in registry.collectors)
    return page("Metrics", introduction, table(("metric", "type", "labels", "meaning"), rows))


def _groups() -> Iterator[type[Any]]:
    for submodule in sorted(pkgutil.iter_modules(telemetry.__path__), key=lambda each: each.name):
        module = importlib.import_module(f"{telemetry.__name__}.{submodule.name}")
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__ and each.__name__.endswith("Metrics"):
                yield each


def _row(collector: Any) -> list[str]:
    (family,) = collector.describe()
    labels = ", ".join(code(label) for label in collector._labelnames)  # noqa: SLF001 - it has no public name
    return [code(family.name + SUFFIXES.get(family.type, "")), family.type, labels, family.documentation]
