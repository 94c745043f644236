"""Routes of buckets: create, list, get, update, empty, delete. Only the secret key may use them."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .access import Keys
from .files import ObjectFiles
from .incoming import receive_json
from .metadata import Metadata
from .rules import check_bucket_name, check_size, size_in_bytes
from .wire import bucket_json

_RULES = ("public", "file_size_limit", "allowed_mime_types")


class BucketRoutes:
    """HTTP handlers of `/storage/v1/bucket`."""

    def __init__(self, keys: Keys, metadata: Metadata, files: ObjectFiles, size_limit_bytes: int | None) -> None:
        self._keys = keys
        self._metadata = metadata
        self._files = files
        self._size_limit_bytes = size_limit_bytes

    def routes(self) -> list[BaseRoute]:
        one = "/storage/v1/bucket/{bucket}"
        return [
            Route("/storage/v1/bucket", self.create, methods=["POST"]),
            Route("/storage/v1/bucket", self.list, methods=["GET"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.update, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(one + "/empty", self.empty, methods=["POST"]),
        ]

    def _rules(self, body: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        rules = {rule: body.get(rule, before.get(rule)) for rule in _RULES}
        rules["public"] = bool(rules["public"])
        rules["file_size_limit"] = size_in_bytes(rules["file_size_limit"])
        check_size(rules["file_size_limit"] or 0, self._size_limit_bytes)
        return rules

    async def create(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        body = await receive_json(request)
        name = str(body.get("name") or body.get("id") or "")
        check_bucket_name(name)
        bucket_id = str(body.get("id") or name)
        await self._metadata.create_bucket({"id": bucket_id, "name": name, **self._rules(body, {})})
        return JSONResponse({"name": bucket_id})

    async def list(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        return JSONResponse([bucket_json(row) for row in await self._metadata.bucket_rows()])

    async def get(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        return JSONResponse(bucket_json(await self._metadata.bucket_row(request.path_params["bucket"])))

    async def update(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        body = await receive_json(request)
        before = await self._metadata.bucket_row(request.path_params["bucket"])
        await self._metadata.update_bucket({"id": before["id"], **self._rules(body, before)})
        return JSONResponse({"message": "Successfully updated"})

    async def delete(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        await self._metadata.delete_bucket(request.path_params["bucket"])
        return JSONResponse({"message": "Successfully deleted"})

    async def empty(self, request: Request) -> Response:
        self._keys.require_bucket_admin(request)
        bucket = await self._metadata.bucket(request.path_params["bucket"])
        rows = await self._metadata.delete_objects(bucket.id, None)
        await asyncio.to_thread(self._files.remove, [row["version"] for row in rows])
        return JSONResponse({"message": "Successfully emptied"})
