from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ArtifactReady(_message.Message):
    __slots__ = ("artifact_id", "traceparent")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    traceparent: str
    def __init__(self, artifact_id: _Optional[str] = ..., traceparent: _Optional[str] = ...) -> None: ...
