"""Routes that answer an object's bytes: authenticated, public and signed; with Range and ETag."""

import asyncio
import os
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from .access import Keys
from .errors import WireError
from .files import ObjectFiles
from .metadata import Metadata
from .objects import target_of
from .signing import Signer


class DownloadRoutes:
    """HTTP handlers of `GET` and `HEAD` on objects."""

    def __init__(self, keys: Keys, metadata: Metadata, files: ObjectFiles, signer: Signer) -> None:
        self._keys = keys
        self._metadata = metadata
        self._files = files
        self._signer = signer

    def routes(self) -> list[BaseRoute]:
        base = "/storage/v1/object"
        one = "/{bucket}/{path:path}"
        return [
            Route(base + "/public" + one, self.public, methods=["GET"]),
            Route(base + "/sign" + one, self.signed, methods=["GET"]),
            Route(base + "/authenticated" + one, self.authenticated, methods=["GET"]),
            Route(base + one, self.authenticated, methods=["GET"]),
        ]

    async def authenticated(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        role = self._keys.objects_of(request, bucket_id).to_read()
        await self._metadata.bucket(bucket_id)
        return await self._answer(request, bucket_id, name, role)

    async def public(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        bucket = await self._metadata.bucket(bucket_id)
        if not bucket.public:
            raise WireError.no_such_bucket()
        return await self._answer(request, bucket_id, name)

    async def signed(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        self._signer.check(request.query_params.get("token", ""), f"{bucket_id}/{name}")
        return await self._answer(request, bucket_id, name)

    async def _answer(self, request: Request, bucket_id: str, name: str, role: str | None = None) -> Response:
        row = await self._metadata.object_row(bucket_id, name, role)
        metadata: dict[str, Any] = row["metadata"]
        headers = {"etag": metadata["eTag"], "cache-control": metadata["cacheControl"]}
        known = request.headers.get("if-none-match", "")
        if metadata["eTag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        path = self._files.path(row["version"])
        return FileResponse(path, headers=headers, media_type=metadata["mimetype"], stat_result=await _stat(path))


async def _stat(path: Path) -> os.stat_result:
    try:
        return await asyncio.to_thread(path.stat)
    except FileNotFoundError as error:
        # Replaced or removed between reading the row and opening the file.
        raise WireError.no_such_object() from error
