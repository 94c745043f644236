"""What the routes to operations of the Gemini API share: one installation with its API key."""

from __future__ import annotations

from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.google.access import ApiKey
from superstoryboard.providers.google.files import GOOGLE, GoogleFiles
from superstoryboard.providers.google.rest import Rest, Timeouts


class GeminiOperations:
    """The connections of an `OperationRoute`, and whether a webhook is told of its operations."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str = "v1beta",
        catalogue: Catalogue | None = None,
        timeouts: Timeouts | None = None,
        webhook_url: str = "",
    ) -> None:
        self.tells = bool(webhook_url)
        self._webhook_url = webhook_url
        base_url = (base_url or GOOGLE).rstrip("/")
        self._root = f"{base_url}/{api_version}"
        self._catalogue = catalogue or Catalogue.load()
        self._rest = Rest(ApiKey(api_key), timeouts or Timeouts())
        self._files = GoogleFiles(self._rest, base_url, self._root)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()
