"""The error answers of Supabase Storage, as they look on the wire."""

from typing import Self

from starlette.responses import JSONResponse, Response


class WireError(Exception):
    """A request that Storage refuses. Nearly all go out as HTTP 400 with the real code in the body."""

    def __init__(self, status: int, error: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        return self.status if self.status >= 500 else 400

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
        return cls(500, "DatabaseError", "DatabaseError", f'role "{role}" does not exist')

    @classmethod
    def database_away(cls) -> Self:
        return cls(544, "DatabaseTimeout", "DatabaseTimeout", "The connection to the database timed out")


class GatewayError(Exception):
    """The API gateway in front of Storage lets nothing through: HTTP 401 in the gateway's own form."""

    def __init__(self, message: str = "Invalid API key") -> None:
        super().__init__(message)
        self._body = {"message": message}

    def response(self) -> Response:
        return JSONResponse(self._body, status_code=401)


class WrongSignatureError(WireError):
    """The bearer token is not signed by this project."""

    def __init__(self, message: str = "signature verification failed") -> None:
        super().__init__(403, "Unauthorized", "AccessDenied", message)
