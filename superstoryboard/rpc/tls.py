"""TLS of a server, from files that may change while it runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc

from superstoryboard.config.certificates import CertificateError
from superstoryboard.config.tls import ServedFiles
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.tls_metrics import TlsMetrics

LOOK_SECONDS = 1.0
"""How often the files are read. By content: a Kubernetes volume swaps a link, and others keep the time of a file."""

log = get_logger("tls")


class ServerTls:
    """Credentials of one port. Open connections keep the certificate with which they began."""

    def __init__(self, files: ServedFiles, metrics: TlsMetrics) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._files = files
        self._metrics = metrics
        self._pems = files.read()
        self._served = self._pems.check()
        self._problem: str | None = None
        self._unused: grpc.ServerCertificateConfiguration | None = None
        self._show()

    def credentials(self) -> grpc.ServerCredentials:
        """For one port: a change is given to the first handshake after it, and that port's core keeps it."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self._fetch,  # type: ignore[arg-type]  # None says that nothing changed, which grpc-stubs do not know
            require_client_authentication=self._served.client_ca is not None,
        )

    async def keep_current(self) -> None:
        """Take over the files whenever they change, for ever. Files that cannot be used change nothing."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take over the files now, where they changed and can be used."""
        try:
            pems = self._files.read()
            if pems == self._pems:
                self._problem = None
                return
            self._served = pems.check()
        except CertificateError as error:
            self._reject(str(error))
            return
        self._pems = pems
        self._problem = None
        self._unused = self._configuration()
        self._metrics.loaded()
        log.info("New certificate files are in use", not_after=str(self._served.pair.not_after))
        self._show()

    def _reject(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._metrics.rejected()
            log.warning("The changed certificate files cannot be used; the old ones are kept", reason=problem)

    def _show(self) -> None:
        not_after = self._served.pair.not_after
        self._metrics.serving(not_after)
        if not_after <= datetime.now(UTC):
            log.warning("The certificate has expired; clients will refuse it", not_after=str(not_after))

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = self._served.pair
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], self._served.client_ca)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked before every handshake, in a thread of gRPC that other handshakes wait for: it reads no file."""
        unused, self._unused = self._unused, None
        return unused
