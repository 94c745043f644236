"""How a call shows who it is: an API key, or a token of Google's application default credentials."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

KEY_HEADER = "x-goog-api-key"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
TOKEN_SECONDS = 30.0


class AccessError(Exception):
    """No token could be had. `lasting`: somebody must change the credentials; else another try may help."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


class Access(Protocol):
    """What goes into the headers of a call, and what must not appear in any message."""

    @property
    def secret(self) -> str:
        """A text that is never shown; empty where there is none."""

    async def headers(self) -> dict[str, str]:
        """Headers for the provider's own host, and for no other.

        Raises:
            AccessError: there are none now.
        """


class ApiKey:
    """A key in a header, never in an address."""

    def __init__(self, key: str) -> None:
        self.secret = key.strip()

    async def headers(self) -> dict[str, str]:
        """The header of the key."""
        return {KEY_HEADER: self.secret}


class GoogleLogin:
    """Tokens of the environment's credentials: those of GOOGLE_APPLICATION_CREDENTIALS, or the machine's account."""

    secret = ""  # a token lives an hour and matches the patterns of `wording`

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self._refreshing = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """The header of a token that is still good, and of the project that pays where one is named."""
        headers: dict[str, str] = {}
        async with self._refreshing:
            if self._credentials is None or not self._credentials.valid:
                try:
                    async with asyncio.timeout(TOKEN_SECONDS):
                        self._credentials = await asyncio.to_thread(_refreshed, self._credentials)
                except TimeoutError as error:
                    raise AccessError("Google's token service did not respond in time", lasting=False) from error
            self._credentials.apply(headers)  # type: ignore[no-untyped-call]  # google-auth annotates little
        return headers


def _refreshed(credentials: Credentials | None) -> Credentials:
    # Loaded only where it is used: google-auth and its HTTP library take 15 MB.
    import google.auth  # noqa: PLC0415
    from google.auth import exceptions  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415

    try:
        if credentials is None:
            credentials, _ = google.auth.default(scopes=SCOPES)
        credentials.refresh(Request())  # type: ignore[no-untyped-call]
    except exceptions.DefaultCredentialsError as error:
        raise AccessError(
            "no Google credentials are configured. Set up Application Default Credentials", lasting=True
        ) from error
    except exceptions.TransportError as error:
        raise AccessError("Google's token service is not reachable", lasting=False) from error
    except exceptions.GoogleAuthError as error:
        raise AccessError(
            "Google rejected the credentials. Check their account, key and expiry", lasting=not error.retryable
        ) from error
    return credentials
