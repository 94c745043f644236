"""The error answers of Supabase Storage, as they look on the wire."""

from typing import Any, Self

from starlette.responses import JSONResponse, Response


class WireError(Exception):
    """A request that Storage refuses. Nearly all go out as HTTP 400 with the real code in the body."""

    def __init__(self, status: int, error: str, code: str, message: str, *, plain: bool = False) -> None:
        super().__init__(message)
        self._plain = plain
        self.status = status
        self.error = error
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        return self.status if self.status >= 500 or self._plain else 400

    def response(self) -> Response:
        body = {
            "statusCode": str(self.status),
            "error": self.error,
            "code": self.code,
            "message": self.message,
        }
        return JSONResponse(body, status_code=self.http_status)

    @classmethod
    def no_such_object(cls) -> Self:
        return cls(404, "not_found", "NoSuchKey", "Object not found")

    @classmethod
    def no_such_bucket(cls) -> Self:
        return cls(404, "Bucket not found", "NoSuchBucket", "Bucket not found")

    @classmethod
    def duplicate_object(cls) -> Self:
        return cls(409, "Duplicate", "KeyAlreadyExists", "The resource already exists")

    @classmethod
    def duplicate_bucket(cls) -> Self:
        return cls(409, "Duplicate", "BucketAlreadyExists", "The resource already exists")

    @classmethod
    def bucket_not_empty(cls) -> Self:
        return cls(409, "ResourceNotEmpty", "BucketNotEmpty", "The bucket you tried to delete is not empty")

    @classmethod
    def too_large(cls) -> Self:
        return cls(413, "Payload too large", "EntityTooLarge", "The object exceeded the maximum allowed size")

    @classmethod
    def wrong_type(cls, media_type: str) -> Self:
        return cls(415, "invalid_mime_type", "InvalidMimeType", f"mime type {media_type} is not supported")

    @classmethod
    def invalid_key(cls, key: str) -> Self:
        return cls(400, "InvalidKey", "InvalidKey", f"Invalid key: {key}")

    @classmethod
    def invalid_bucket_name(cls) -> Self:
        return cls(400, "Invalid Input", "InvalidBucketName", "Bucket name invalid")

    @classmethod
    def invalid_request(cls, message: str) -> Self:
        return cls(400, "Error", "InvalidRequest", message)

    @classmethod
    def invalid_token(cls, message: str) -> Self:
        return cls(400, "InvalidJWT", "InvalidJWT", message)

    @classmethod
    def row_level_security(cls) -> Self:
        return cls(403, "Unauthorized", "AccessDenied", "new row violates row-level security policy")

    @classmethod
    def refused_token(cls, message: str) -> Self:
        return cls(403, "Unauthorized", "AccessDenied", message)

    @classmethod
    def no_such_role(cls, role: str) -> Self:
        return cls(403, "Unauthorized", "AccessDenied", f'role "{role}" does not exist', plain=True)

    @classmethod
    def database_away(cls) -> Self:
        return cls(544, "DatabaseTimeout", "DatabaseTimeout", "The connection to the database timed out")


class GatewayError(Exception):
    """The API gateway in front of Storage does not know the key: HTTP 401 in the gateway's own form."""

    body: dict[str, Any] = {"message": "Invalid API key"}  # noqa: RUF012

    def response(self) -> Response:
        return JSONResponse(self.body, status_code=401)
