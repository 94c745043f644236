from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ArtifactReady(_message.Message):
    __slots__ = ("job_id", "claim", "artifact_id", "staging_bucket", "staging_key", "sha256", "size_bytes", "media_type", "bucket", "path", "traceparent")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    STAGING_BUCKET_FIELD_NUMBER: _ClassVar[int]
    STAGING_KEY_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    claim: int
    artifact_id: str
    staging_bucket: str
    staging_key: str
    sha256: str
    size_bytes: int
    media_type: str
    bucket: str
    path: str
    traceparent: str
    def __init__(self, job_id: _Optional[str] = ..., claim: _Optional[int] = ..., artifact_id: _Optional[str] = ..., staging_bucket: _Optional[str] = ..., staging_key: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., media_type: _Optional[str] = ..., bucket: _Optional[str] = ..., path: _Optional[str] = ..., traceparent: _Optional[str] = ...) -> None: ...
