"""What a process counts of what it checks tokens with: public keys, and its copy of the service tokens."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class TokenKeyMetrics:
    """Reads of the key set, its size and its age."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._refreshes = Counter(
            "superstoryboard_token_key_refreshes_total",
            "Times that the project's key set was read, by outcome: ok or failed",
            ["outcome"],
            registry=registry,
        )
        self._keys = Gauge("superstoryboard_token_keys", "Usable keys of the set that was read last", registry=registry)
        self._age = Gauge(
            "superstoryboard_token_keys_age_seconds",
            "Time since the key set was read; +Inf where there is none, or none is needed",
            registry=registry,
        )
        self._age.set(float("inf"))

    def refreshed(self, outcome: str, keys: int | None = None) -> None:
        """The set was read (`ok`, with so many usable keys) or not (`failed`)."""
        self._refreshes.labels(outcome).inc()
        if keys is not None:
            self._keys.set(keys)

    def watch_age(self, age_seconds: Callable[[], float]) -> None:
        """Ask this for the age whenever the page is read."""
        self._age.set_function(age_seconds)


class ServiceTokenMetrics:
    """Reads of the service tokens, how many are live, and how old the copy is."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._refreshes = Counter(
            "superstoryboard_service_token_refreshes_total",
            "Times that the service tokens were read, by outcome: ok or failed",
            ["outcome"],
            registry=registry,
        )
        self._tokens = Gauge(
            "superstoryboard_service_tokens", "Service tokens that are neither revoked nor expired", registry=registry
        )
        self._age = Gauge(
            "superstoryboard_service_tokens_age_seconds",
            "Time since the service tokens were read; +Inf where they never were, or none are needed",
            registry=registry,
        )
        self._age.set(float("inf"))

    def refreshed(self, outcome: str, live: int | None = None) -> None:
        """The tokens were read (`ok`, with so many live ones) or not (`failed`)."""
        self._refreshes.labels(outcome).inc()
        if live is not None:
            self._tokens.set(live)

    def watch_age(self, age_seconds: Callable[[], float]) -> None:
        """Ask this for the age whenever the page is read."""
        self._age.set_function(age_seconds)
