"""Fetch the picture a caller points at, without letting the URL reach where the caller cannot.

The own Storage is always allowed, also over http and at a private address, as a self-hosted Supabase has. Every other
host must be allow-listed, spoken to over https, and public: the connection goes to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from superstoryboard.domain.errors import ErrorClass, JobError, JobFailure
from superstoryboard.domain.media import Media, MediaType
from superstoryboard.foreign_json import decoded_json
from superstoryboard.media import MediaError
from superstoryboard.media.verify import probe_bytes
from superstoryboard.providers.addresses import Address, is_public
from superstoryboard.providers.own_objects import is_within, private_storyboard
from superstoryboard.providers.retry_after import parse_seconds
from superstoryboard.providers.source_url import url_problem

FIELD = "sourceImageUrl"
MAX_BYTES = 20 * 1024 * 1024
MAX_REDIRECTS = 3

_PASSING = frozenset({408, 425, 429})
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")
_HEADERS = {
    "accept": "image/png, image/jpeg, image/webp",
    "accept-encoding": "identity",
    "user-agent": "superstoryboard",
}
_ERROR_BODY_BYTES = 4096
_NEEDS_SIGNATURE = "; an image in a private bucket needs a signed URL that has not expired"


MayRead = Callable[[str], Awaitable[bool]]
"""Whether pictures of a storyboard in a private bucket of ours are for who asks; an empty name is no storyboard."""


@dataclass(frozen=True)
class SourceImage:
    """A picture that decodes; the media type is that of its bytes."""

    media_type: MediaType
    data: bytes


@dataclass(frozen=True)
class _Target:
    """Where a hop really connects to: addresses that were checked, or none where the host is trusted."""

    url: httpx.URL
    addresses: tuple[Address, ...] = ()


class SourceFetcher:
    """Fetches source images. `storage_origins` are base URLs of the own Storage such as `http://kong:8000`.

    What lies in `staging_bucket` or a private bucket for assets is not for everyone, wherever a URL leads there.
    `allowed_hosts` are host names in ASCII; `*.example.com` stands for all hosts below. `timeout_seconds` bounds one
    fetch with all its redirects. Proxies of the environment are not used: they would make the address check void.
    """

    def __init__(
        self,
        storage_origins: Iterable[str],
        allowed_hosts: Iterable[str] = (),
        *,
        staging_bucket: str = "",
        max_bytes: int = MAX_BYTES,
        timeout_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        address_allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        self._storages = [httpx.URL(origin) for origin in storage_origins if origin]
        self._allowed_hosts = [host.strip().lower().rstrip(".") for host in allowed_hosts if host.strip()]
        self._staging_bucket = staging_bucket
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._address_allowed = address_allowed
        self._timeout = httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)).as_dict()
        # Not a client, which reads redirects and cookies by itself. No connection is kept: hosts may share an address.
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or True, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def fetch(self, url: str, may_read: MayRead) -> SourceImage:
        """The picture at a URL, decoded once to be sure. `may_read` is asked for each address on the way to it.

        Raises:
            JobFailure: INVALID with code SOURCE_NOT_ALLOWED, SOURCE_NOT_YOURS, SOURCE_NOT_FOUND, SOURCE_NOT_READABLE,
                SOURCE_TOO_LARGE or SOURCE_NOT_IMAGE. With code SOURCE_UNAVAILABLE: UNAVAILABLE_DEPENDENCY where the own
                Storage is away, which the job waits for; of any other host TRANSIENT.
        """
        own = self._is_own(url)
        await self._check_owner(url, may_read)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                data, content_type = await self._follow(url, may_read)
        except TimeoutError as error:
            raise _unavailable("did not respond in time", own=own) from error
        except (httpx.HTTPError, OSError) as error:
            raise _unavailable("could not be reached", own=own) from error
        try:
            shape = await probe_bytes(data, Media.IMAGE)
        except MediaError as error:
            came = f" (content type {content_type})" if content_type else ""
            raise _invalid("SOURCE_NOT_IMAGE", f"must be a readable image: {error}{came}") from error
        return SourceImage(shape.media_type, data)

    async def _check_owner(self, url: str, may_read: MayRead) -> None:
        storyboard = private_storyboard(url, map(str, self._storages), self._staging_bucket)
        if storyboard is not None and not await may_read(storyboard):
            where = "leads to a private bucket, to a storyboard that the job's owner may not read"
            raise _invalid("SOURCE_NOT_YOURS", where)

    async def _follow(self, url: str, may_read: MayRead) -> tuple[bytes, str]:
        target = await self._check(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(target)
            async with aclosing(response):
                if not response.has_redirect_location:
                    return await self._read(response, own=not target.addresses), _content_type(response)
                location = response.headers["location"]
            target = await self._check(location, base=target.url)
            await self._check_owner(str(target.url), may_read)
        raise _invalid("SOURCE_NOT_READABLE", f"redirects more than {MAX_REDIRECTS} times")

    async def _check(self, text: str, *, base: httpx.URL | None = None) -> _Target:
        try:
            url = base.join(text) if base is not None else httpx.URL(text)
            problem = url_problem(str(url) if base is not None else text)
        except (httpx.InvalidURL, ValueError) as error:
            raise _invalid("SOURCE_NOT_ALLOWED", "is not a valid URL") from error
        if problem or url.userinfo:
            raise _invalid("SOURCE_NOT_ALLOWED", problem or "must not contain a user name or password")
        if self._is_own(url):
            return _Target(url)
        host = _ascii_host(url)
        if url.scheme != "https" or not any(_matches(host, allowed) for allowed in self._allowed_hosts):
            raise _invalid(
                "SOURCE_NOT_ALLOWED",
                "must be in this installation's Storage, or an https URL of a host in SOURCE_URL_ALLOWED_HOSTS",
            )
        addresses = await _resolve(host, url.port or 443)
        if not all(self._address_allowed(address) for address in addresses):
            raise _invalid("SOURCE_NOT_ALLOWED", "must be on a public address")
        return _Target(url, addresses)

    def _is_own(self, url: str | httpx.URL) -> bool:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            return False
        return any(is_within(parsed, storage) for storage in self._storages)

    async def _send(self, target: _Target) -> httpx.Response:
        if not target.addresses:
            return await self._ask(target.url, {})
        failure: httpx.TransportError | None = None
        for address in target.addresses[:3]:
            # Name and certificate are the host's, the connection goes to the address that was checked.
            pinned = target.url.copy_with(host=str(address))
            extensions = {"sni_hostname": _ascii_host(target.url)}
            try:
                return await self._ask(pinned, extensions, host=target.url.netloc)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError("no address")

    async def _ask(self, url: httpx.URL, extensions: dict[str, Any], *, host: bytes | None = None) -> httpx.Response:
        headers = dict(_HEADERS) if host is None else {"host": host.decode("ascii"), **_HEADERS}
        request = httpx.Request("GET", url, headers=headers, extensions={"timeout": self._timeout, **extensions})
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def _read(self, response: httpx.Response, *, own: bool) -> bytes:
        status = response.status_code
        if status != httpx.codes.OK:
            raise await _refused(response, own=own)
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise self._too_large()
        data = await _read_up_to(response, self._max_bytes)
        if data is None:
            raise self._too_large()
        return data

    def _too_large(self) -> JobFailure:
        return _invalid("SOURCE_TOO_LARGE", f"must be at most {self._max_bytes} bytes")


async def _resolve(host: str, port: int) -> tuple[Address, ...]:
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unavailable("has a host name that cannot be resolved") from error
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries)
    return tuple(ipaddress.ip_address(text) for text in texts)


async def _refused(response: httpx.Response, *, own: bool) -> JobFailure:
    """What an answer other than 200 means; `own` is the Storage of this system, whose keys are never sent."""
    status = response.status_code
    if status == 400 and own:
        status = await _real_status(response)
    if status in {404, 410}:
        return _invalid("SOURCE_NOT_FOUND", f"returned HTTP 404{_NEEDS_SIGNATURE if own else ''}")
    if status >= 500 or status in _PASSING:
        wait = parse_seconds(response.headers.get("retry-after"))
        return _unavailable(f"returned HTTP {status}", own=own, retry_after_seconds=wait)
    advice = _NEEDS_SIGNATURE if own and status in {400, 401, 403} else ""
    return _invalid("SOURCE_NOT_READABLE", f"returned HTTP {status}{advice}")


async def _real_status(response: httpx.Response) -> int:
    """Supabase Storage answers 400 and puts the real status into the body, as a string."""
    body = await _read_up_to(response, _ERROR_BODY_BYTES)
    answer = decoded_json(body or b"")
    status = str(answer.get("statusCode")) if isinstance(answer, dict) else ""
    return int(status) if _STATUS.fullmatch(status) else response.status_code


async def _read_up_to(response: httpx.Response, limit: int) -> bytes | None:
    """The body, or None as soon as it is larger than the limit."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _ascii_host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _content_type(response: httpx.Response) -> str:
    match = _CONTENT_TYPE.match(response.headers.get("content-type", ""))
    return match[0] if match else ""


def _invalid(code: str, rule: str) -> JobFailure:
    return JobFailure(JobError(ErrorClass.INVALID, code, f"{FIELD} {rule}"))


def _unavailable(what: str, *, own: bool = False, retry_after_seconds: float | None = None) -> JobFailure:
    error_class = ErrorClass.UNAVAILABLE_DEPENDENCY if own else ErrorClass.TRANSIENT
    error = JobError(error_class, "SOURCE_UNAVAILABLE", f"{FIELD} {what}")
    return JobFailure(error, retry_after_seconds=retry_after_seconds)
