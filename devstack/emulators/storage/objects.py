"""Routes that change or describe objects: upload, remove, info, list, move, copy, sign."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .access import Keys
from .errors import WireError, WrongSignatureError
from .files import ObjectFiles
from .incoming import Upload, receive_json, receive_upload
from .metadata import Metadata
from .rules import check_media_type, check_size, normalised_key
from .signing import Signer
from .wire import object_info, object_metadata, plain

MAX_REMOVED_AT_ONCE = 1000
_SORT_COLUMNS = ("name", "updated_at", "created_at", "last_accessed_at")


def target_of(request: Request) -> tuple[str, str]:
    """Bucket and key that the URL names."""
    return request.path_params["bucket"], normalised_key(request.path_params["path"])


class ObjectRoutes:
    """HTTP handlers of `/storage/v1/object` other than downloads."""

    def __init__(
        self,
        keys: Keys,
        metadata: Metadata,
        files: ObjectFiles,
        signer: Signer,
        size_limit_bytes: int | None,
    ) -> None:
        self._keys = keys
        self._metadata = metadata
        self._files = files
        self._signer = signer
        self._size_limit_bytes = size_limit_bytes

    def routes(self) -> list[BaseRoute]:
        base = "/storage/v1/object"
        one = base + "/{bucket}/{path:path}"
        return [
            Route(base + "/move", self.move, methods=["POST"]),
            Route(base + "/copy", self.copy, methods=["POST"]),
            Route(base + "/list/{bucket}", self.list, methods=["POST"]),
            Route(base + "/sign/{bucket}/{path:path}", self.sign, methods=["POST"]),
            Route(base + "/info/{bucket}/{path:path}", self.info, methods=["GET"]),
            Route(base + "/{bucket}", self.remove, methods=["DELETE"]),
            Route(one, self.remove_one, methods=["DELETE"]),
            Route(one, self.upload, methods=["POST", "PUT"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Store a body; its bucket's limits are checked after it was read, as the real server does."""
        role = self._keys.objects_of(request, request.path_params["bucket"]).to_write()
        upload = await receive_upload(request, self._files.uploads)
        try:
            bucket_id, name = target_of(request)
            bucket = await self._metadata.bucket(bucket_id)
            check_media_type(upload.media_type, bucket.allowed_mime_types)
            check_size(upload.size_bytes, bucket.file_size_limit, self._size_limit_bytes)
            upsert = request.method == "PUT" or request.headers.get("x-upsert") == "true"
            return await self._store(bucket_id, name, upload, upsert=upsert, role=role)
        finally:
            await asyncio.to_thread(upload.path.unlink, missing_ok=True)

    async def _store(self, bucket_id: str, name: str, upload: Upload, *, upsert: bool, role: str | None) -> Response:
        version = await asyncio.to_thread(self._files.adopt, upload.path)
        try:
            row, replaced = await self._metadata.put_object(
                bucket_id, name, version=version, metadata=object_metadata(upload), upsert=upsert, role=role
            )
        except WireError:
            await asyncio.to_thread(self._files.remove, [version])
            raise
        if replaced:
            await asyncio.to_thread(self._files.remove, [replaced])
        return JSONResponse({"Id": str(row["id"]), "Key": f"{bucket_id}/{name}"})

    async def info(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        try:
            role = self._keys.objects_of(request, bucket_id).to_read()
        except WrongSignatureError as error:
            # To this call alone the real server answers a wrong signature like that.
            raise WireError.no_such_bucket() from error
        await self._metadata.bucket(bucket_id)
        return JSONResponse(object_info(await self._metadata.object_row(bucket_id, name, role)))

    async def remove(self, request: Request) -> Response:
        bucket_id = request.path_params["bucket"]
        access = self._keys.objects_of(request, bucket_id)
        prefixes = (await receive_json(request)).get("prefixes")
        if not isinstance(prefixes, list) or not 0 < len(prefixes) <= MAX_REMOVED_AT_ONCE:
            raise WireError.invalid_request("body/prefixes must NOT have more than 1000 items")
        if access.hidden:
            return JSONResponse([])
        names = [str(prefix) for prefix in prefixes]
        rows = await self._metadata.delete_objects(bucket_id, names, access.database_role)
        await asyncio.to_thread(self._files.remove, [row["version"] for row in rows])
        return JSONResponse([plain(row) for row in rows])

    async def remove_one(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        role = self._keys.objects_of(request, bucket_id).to_read()
        rows = await self._metadata.delete_objects(bucket_id, [name], role)
        if not rows:
            raise WireError.no_such_object()
        await asyncio.to_thread(self._files.remove, [row["version"] for row in rows])
        return JSONResponse({"message": "Successfully deleted"})

    async def sign(self, request: Request) -> Response:
        bucket_id, name = target_of(request)
        role = self._keys.objects_of(request, bucket_id).to_read()
        try:
            seconds = int((await receive_json(request)).get("expiresIn", ""))
        except ValueError as error:
            raise WireError.invalid_request("body/expiresIn must be a number of seconds") from error
        await self._metadata.object_row(bucket_id, name, role)
        token = self._signer.issue(f"{bucket_id}/{name}", seconds)
        return JSONResponse({"signedURL": f"/object/sign/{bucket_id}/{name}?token={token}"})

    async def list(self, request: Request) -> Response:
        bucket_id = request.path_params["bucket"]
        access = self._keys.objects_of(request, bucket_id)
        body = await receive_json(request)
        sort = body.get("sortBy") or {}
        column, order = sort.get("column", "name"), sort.get("order", "asc")
        if column not in _SORT_COLUMNS or order not in ("asc", "desc"):
            raise WireError.invalid_request("body/sortBy is not valid")
        prefix = str(body.get("prefix") or "").strip("/")
        query = {
            "prefix": prefix + "/" if prefix else "",
            "search": str(body.get("search") or ""),
            "limit": int(body.get("limit", 100)),
            "offset": int(body.get("offset", 0)),
        }
        if access.hidden:
            return JSONResponse([])
        rows = await self._metadata.list_level(bucket_id, query, column, order, access.database_role)
        return JSONResponse([plain(row) for row in rows])

    async def _source_and_target(self, request: Request) -> tuple[tuple[str, str], tuple[str, str], str | None]:
        body = await receive_json(request)
        source_bucket = str(body.get("bucketId", ""))
        target_bucket = str(body.get("destinationBucket") or source_bucket)
        self._keys.objects_of(request, source_bucket).to_read()
        role = self._keys.objects_of(request, source_bucket, target_bucket).to_write()
        source = source_bucket, normalised_key(str(body.get("sourceKey", "")))
        target = target_bucket, normalised_key(str(body.get("destinationKey", "")))
        await self._metadata.bucket(target_bucket)
        return source, target, role

    async def move(self, request: Request) -> Response:
        source, target, role = await self._source_and_target(request)
        row = await self._metadata.move_object(source, target, role)
        return JSONResponse({"message": "Successfully moved", "Id": str(row["id"]), "Key": "/".join(target)})

    async def copy(self, request: Request) -> Response:
        source, target, role = await self._source_and_target(request)
        original = await self._metadata.object_row(*source, role)
        version = await asyncio.to_thread(self._files.copy, original["version"])
        upsert = request.headers.get("x-upsert") == "true"
        try:
            row, replaced = await self._metadata.put_object(
                *target, version=version, metadata=original["metadata"], upsert=upsert, role=role
            )
        except WireError:
            await asyncio.to_thread(self._files.remove, [version])
            raise
        if replaced:
            await asyncio.to_thread(self._files.remove, [replaced])
        return JSONResponse({"Id": str(row["id"]), "Key": "/".join(target)})
