"""What a process that speaks TLS counts."""

from __future__ import annotations

import time
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge


class TlsMetrics:
    """The certificate of the gRPC port. Only a process that speaks TLS has these."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._expiry = Gauge(
            "superstoryboard_tls_certificate_expiry_seconds",
            "Seconds until the certificate of the gRPC port expires; negative after that",
            registry=registry,
        )
        self._reloads = Counter(
            "superstoryboard_tls_reloads_total",
            "Changes of the certificate files: `loaded`, or `rejected` and the old ones kept",
            ["outcome"],
            registry=registry,
        )
        for result in ("loaded", "rejected"):
            self._reloads.labels(result)

    def serving(self, not_after: datetime) -> None:
        """The certificate that is shown from now on ends then."""
        end = not_after.timestamp()
        self._expiry.set_function(lambda: end - time.time())

    def loaded(self) -> None:
        """Changed files are in use."""
        self._reloads.labels("loaded").inc()

    def rejected(self) -> None:
        """Changed files cannot be used."""
        self._reloads.labels("rejected").inc()
