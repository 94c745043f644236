"""Asks Google whether it has a model: `models.get`, which costs nothing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import httpx

from superstoryboard.providers.google.access import KEY_HEADER
from superstoryboard.providers.google.error_body import GoogleError, read_google_error

TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class ModelAnswer(StrEnum):
    """What Google says of a model, or of the key that asks."""

    THERE = "THERE"
    MISSING = "MISSING"
    BAD_KEY = "BAD_KEY"
    FORBIDDEN = "FORBIDDEN"
    """The key is known, but it may not call the API from here, or the API is not switched on."""
    BUSY = "BUSY"
    STRANGE = "STRANGE"
    """Something else than the Gemini API answers."""


class GoogleInspectionError(Exception):
    """Google cannot be asked; the message holds neither key nor address."""


class GoogleInspection:
    """The free calls of one key."""

    def __init__(self, http: httpx.AsyncClient, root: str, api_key: str) -> None:
        self._http = http
        self._root = root
        self._api_key = api_key

    async def model(self, name: str) -> ModelAnswer:
        """Whether a model exists.

        Raises:
            GoogleInspectionError: nobody answers.
        """
        if not _NAME.fullmatch(name):
            return ModelAnswer.MISSING
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await self._http.get(f"{self._root}/models/{name}", headers={KEY_HEADER: self._api_key})
        except (TimeoutError, httpx.TimeoutException):
            raise GoogleInspectionError("Google did not respond in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise GoogleInspectionError(f"Google is not reachable ({type(error).__name__})") from None
        return _answer(response)


@asynccontextmanager
async def inspect_google(base_url: str, api_version: str, api_key: str) -> AsyncIterator[GoogleInspection]:
    """Connections for looking, closed at the end; nothing is sent yet."""
    timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    async with httpx.AsyncClient(timeout=timeout) as http:
        yield GoogleInspection(http, f"{base_url.rstrip('/')}/{api_version}", api_key)


def _answer(response: httpx.Response) -> ModelAnswer:
    try:
        body = json.loads(response.content)
    except ValueError:
        return ModelAnswer.STRANGE
    if response.is_success:
        return ModelAnswer.THERE if isinstance(body, dict) and "name" in body else ModelAnswer.STRANGE
    error = read_google_error(body)
    if error is None:
        return ModelAnswer.STRANGE
    return _refusal(response.status_code, error)


def _refusal(status: int, error: GoogleError) -> ModelAnswer:
    if "API_KEY_INVALID" in error.reasons or error.says("api key not valid", "api key expired") or status == 401:
        return ModelAnswer.BAD_KEY
    if status == 404:
        return ModelAnswer.MISSING if error.says("model") else ModelAnswer.STRANGE
    if status == 429 or status >= 500:
        return ModelAnswer.BUSY
    return ModelAnswer.FORBIDDEN
