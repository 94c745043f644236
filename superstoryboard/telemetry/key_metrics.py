"""What a process counts of what it checks tokens with: public keys, and its copy of the service tokens."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class WatchedCopy:
    """Reads of something that the process keeps a copy of, what the copy holds, and how old it is."""

    def __init__(self, refreshes: Counter, held: Gauge, age: Gauge) -> None:
        self._refreshes = refreshes
        self._held = held
        self._age = age
        self._age.set(float("inf"))

    def refreshed(self, outcome: str, held: int | None = None) -> None:
        """It was read (`ok`, with so many usable keys or tokens) or not (`failed`)."""
        self._refreshes.labels(outcome).inc()
        if held is not None:
            self._held.set(held)

    def watch_age(self, age_seconds: Callable[[], float]) -> None:
        """Ask this for the age whenever the page is read."""
        self._age.set_function(age_seconds)


class TokenKeyMetrics(WatchedCopy):
    """Reads of the key set, its size and its age."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(
            Counter(
                "superstoryboard_token_key_refreshes_total",
                "Times that the project's key set was read, by outcome: ok or failed",
                ["outcome"],
                registry=registry,
            ),
            Gauge("superstoryboard_token_keys", "Usable keys of the set that was read last", registry=registry),
            Gauge(
                "superstoryboard_token_keys_age_seconds",
                "Time since the key set was read; +Inf where there is none, or none is needed",
                registry=registry,
            ),
        )


class ServiceTokenMetrics(WatchedCopy):
    """Reads of the service tokens, how many are live, and how old the copy is."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(
            Counter(
                "superstoryboard_service_token_refreshes_total",
                "Times that the service tokens were read, by outcome: ok or failed",
                ["outcome"],
                registry=registry,
            ),
            Gauge(
                "superstoryboard_service_tokens",
                "Service tokens that are neither revoked nor expired",
                registry=registry,
            ),
            Gauge(
                "superstoryboard_service_tokens_age_seconds",
                "Time since the service tokens were read; +Inf where they never were, or none are needed",
                registry=registry,
            ),
        )
