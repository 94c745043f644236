import datetime

from superstoryboard.v1 import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_KIND_UNSPECIFIED: _ClassVar[JobKind]
    JOB_KIND_IMAGE: _ClassVar[JobKind]
    JOB_KIND_VIDEO: _ClassVar[JobKind]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_STAGED: _ClassVar[JobState]
    JOB_STATE_RETRYING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_DEAD_LETTERED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class ErrorClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CLASS_UNSPECIFIED: _ClassVar[ErrorClass]
    ERROR_CLASS_RATE_LIMITED: _ClassVar[ErrorClass]
    ERROR_CLASS_QUOTA_EXHAUSTED: _ClassVar[ErrorClass]
    ERROR_CLASS_CONFIG: _ClassVar[ErrorClass]
    ERROR_CLASS_TRANSIENT: _ClassVar[ErrorClass]
    ERROR_CLASS_REFUSED: _ClassVar[ErrorClass]
    ERROR_CLASS_INVALID: _ClassVar[ErrorClass]
    ERROR_CLASS_UNKNOWN_OUTCOME: _ClassVar[ErrorClass]
    ERROR_CLASS_UNAVAILABLE_DEPENDENCY: _ClassVar[ErrorClass]
JOB_KIND_UNSPECIFIED: JobKind
JOB_KIND_IMAGE: JobKind
JOB_KIND_VIDEO: JobKind
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_STAGED: JobState
JOB_STATE_RETRYING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_DEAD_LETTERED: JobState
JOB_STATE_CANCELLED: JobState
ERROR_CLASS_UNSPECIFIED: ErrorClass
ERROR_CLASS_RATE_LIMITED: ErrorClass
ERROR_CLASS_QUOTA_EXHAUSTED: ErrorClass
ERROR_CLASS_CONFIG: ErrorClass
ERROR_CLASS_TRANSIENT: ErrorClass
ERROR_CLASS_REFUSED: ErrorClass
ERROR_CLASS_INVALID: ErrorClass
ERROR_CLASS_UNKNOWN_OUTCOME: ErrorClass
ERROR_CLASS_UNAVAILABLE_DEPENDENCY: ErrorClass

class ImageGeneration(_message.Message):
    __slots__ = ("storyboard_id", "scene_id", "character_id", "prompt", "source_image_url", "edit_mode", "aspect_ratio", "model")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    EDIT_MODE_FIELD_NUMBER: _ClassVar[int]
    ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    scene_id: str
    character_id: str
    prompt: str
    source_image_url: str
    edit_mode: bool
    aspect_ratio: str
    model: str
    def __init__(self, storyboard_id: _Optional[str] = ..., scene_id: _Optional[str] = ..., character_id: _Optional[str] = ..., prompt: _Optional[str] = ..., source_image_url: _Optional[str] = ..., edit_mode: _Optional[bool] = ..., aspect_ratio: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class VideoGeneration(_message.Message):
    __slots__ = ("storyboard_id", "scene_id", "character_id", "prompt", "source_image_url", "aspect_ratio", "duration_seconds", "resolution", "model")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    scene_id: str
    character_id: str
    prompt: str
    source_image_url: str
    aspect_ratio: str
    duration_seconds: str
    resolution: str
    model: str
    def __init__(self, storyboard_id: _Optional[str] = ..., scene_id: _Optional[str] = ..., character_id: _Optional[str] = ..., prompt: _Optional[str] = ..., source_image_url: _Optional[str] = ..., aspect_ratio: _Optional[str] = ..., duration_seconds: _Optional[str] = ..., resolution: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class Asset(_message.Message):
    __slots__ = ("bucket", "path", "url", "media_type", "size_bytes", "sha256", "width", "height", "duration", "url_expire_time")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    URL_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    path: str
    url: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    duration: _duration_pb2.Duration
    url_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, bucket: _Optional[str] = ..., path: _Optional[str] = ..., url: _Optional[str] = ..., media_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., url_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "message", "provider_codes")
    CLASS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CODES_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    provider_codes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., provider_codes: _Optional[_Iterable[str]] = ..., **kwargs) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "kind", "state", "attempt", "max_attempts", "image", "video", "queue", "msg_id", "provider", "model", "asset", "error", "warnings", "labels", "create_time", "start_time", "end_time", "assets")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    MSG_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: JobKind
    state: JobState
    attempt: int
    max_attempts: int
    image: ImageGeneration
    video: VideoGeneration
    queue: str
    msg_id: int
    provider: str
    model: str
    asset: Asset
    error: JobError
    warnings: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    assets: _containers.RepeatedCompositeFieldContainer[Asset]
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[JobKind, str]] = ..., state: _Optional[_Union[JobState, str]] = ..., attempt: _Optional[int] = ..., max_attempts: _Optional[int] = ..., image: _Optional[_Union[ImageGeneration, _Mapping]] = ..., video: _Optional[_Union[VideoGeneration, _Mapping]] = ..., queue: _Optional[str] = ..., msg_id: _Optional[int] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., asset: _Optional[_Union[Asset, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., assets: _Optional[_Iterable[_Union[Asset, _Mapping]]] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("sequence", "job_id", "state", "attempt", "progress_percent", "message", "create_time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    job_id: str
    state: JobState
    attempt: int
    progress_percent: int
    message: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., attempt: _Optional[int] = ..., progress_percent: _Optional[int] = ..., message: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
