import datetime

from superstoryboard.v1 import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from superstoryboard.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessQueueRequest(_message.Message):
    __slots__ = ("max_messages",)
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    max_messages: int
    def __init__(self, max_messages: _Optional[int] = ...) -> None: ...

class ProcessResult(_message.Message):
    __slots__ = ("success", "scene_id", "character_id", "image_url", "video_url", "error", "msg_id", "job_id")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    VIDEO_URL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    success: bool
    scene_id: str
    character_id: str
    image_url: str
    video_url: str
    error: str
    msg_id: int
    job_id: str
    def __init__(self, success: _Optional[bool] = ..., scene_id: _Optional[str] = ..., character_id: _Optional[str] = ..., image_url: _Optional[str] = ..., video_url: _Optional[str] = ..., error: _Optional[str] = ..., msg_id: _Optional[int] = ..., job_id: _Optional[str] = ...) -> None: ...

class ProcessQueueResponse(_message.Message):
    __slots__ = ("message", "processed", "results")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PROCESSED_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    message: str
    processed: int
    results: _containers.RepeatedCompositeFieldContainer[ProcessResult]
    def __init__(self, message: _Optional[str] = ..., processed: _Optional[int] = ..., results: _Optional[_Iterable[_Union[ProcessResult, _Mapping]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunningJob(_message.Message):
    __slots__ = ("job_id", "claim", "age")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    claim: int
    age: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[str] = ..., claim: _Optional[int] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("worker_id", "queue", "concurrency", "running", "draining", "kind")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    queue: str
    concurrency: int
    running: _containers.RepeatedCompositeFieldContainer[RunningJob]
    draining: bool
    kind: _job_pb2.JobKind
    def __init__(self, worker_id: _Optional[str] = ..., queue: _Optional[str] = ..., concurrency: _Optional[int] = ..., running: _Optional[_Iterable[_Union[RunningJob, _Mapping]]] = ..., draining: _Optional[bool] = ..., kind: _Optional[_Union[_job_pb2.JobKind, str]] = ...) -> None: ...
