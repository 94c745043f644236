import datetime

from superstoryboard.v1 import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from superstoryboard.v1 import job_pb2 as _job_pb2
from superstoryboard.v1 import storyboard_pb2 as _storyboard_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateImageJobRequest(_message.Message):
    __slots__ = ("image", "request_id", "schedule_time", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    image: _job_pb2.ImageGeneration
    request_id: str
    schedule_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    def __init__(self, image: _Optional[_Union[_job_pb2.ImageGeneration, _Mapping]] = ..., request_id: _Optional[str] = ..., schedule_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateImageJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class CreateVideoJobRequest(_message.Message):
    __slots__ = ("video", "request_id", "schedule_time", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    video: _job_pb2.VideoGeneration
    request_id: str
    schedule_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    def __init__(self, video: _Optional[_Union[_job_pb2.VideoGeneration, _Mapping]] = ..., request_id: _Optional[str] = ..., schedule_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateVideoJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class BatchItem(_message.Message):
    __slots__ = ("image", "video")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    image: CreateImageJobRequest
    video: CreateVideoJobRequest
    def __init__(self, image: _Optional[_Union[CreateImageJobRequest, _Mapping]] = ..., video: _Optional[_Union[CreateVideoJobRequest, _Mapping]] = ...) -> None: ...

class BatchCreateJobsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchItem]
    def __init__(self, items: _Optional[_Iterable[_Union[BatchItem, _Mapping]]] = ...) -> None: ...

class BatchItemResult(_message.Message):
    __slots__ = ("job", "error")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    error: _status_pb2.Status
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class BatchCreateJobsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchItemResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchItemResult, _Mapping]]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("storyboard_id", "scene_id", "character_id", "states", "kind", "created_from", "created_before", "page_size", "page_token")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    SCENE_ID_FIELD_NUMBER: _ClassVar[int]
    CHARACTER_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    scene_id: str
    character_id: str
    states: _containers.RepeatedScalarFieldContainer[_job_pb2.JobState]
    kind: _job_pb2.JobKind
    created_from: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, storyboard_id: _Optional[str] = ..., scene_id: _Optional[str] = ..., character_id: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_job_pb2.JobState, str]]] = ..., kind: _Optional[_Union[_job_pb2.JobKind, str]] = ..., created_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ("job_ids", "storyboard_id", "after_sequence", "until_terminal")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TERMINAL_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    storyboard_id: str
    after_sequence: int
    until_terminal: bool
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ..., storyboard_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., until_terminal: _Optional[bool] = ...) -> None: ...

class WatchJobsResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _job_pb2.JobEvent
    def __init__(self, event: _Optional[_Union[_job_pb2.JobEvent, _Mapping]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("job_id", "accept_second_payment")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_SECOND_PAYMENT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    accept_second_payment: bool
    def __init__(self, job_id: _Optional[str] = ..., accept_second_payment: _Optional[bool] = ...) -> None: ...

class RetryJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class GetStoryboardRequest(_message.Message):
    __slots__ = ("storyboard_id",)
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    def __init__(self, storyboard_id: _Optional[str] = ...) -> None: ...

class GetStoryboardResponse(_message.Message):
    __slots__ = ("storyboard",)
    STORYBOARD_FIELD_NUMBER: _ClassVar[int]
    storyboard: _storyboard_pb2.Storyboard
    def __init__(self, storyboard: _Optional[_Union[_storyboard_pb2.Storyboard, _Mapping]] = ...) -> None: ...

class ShareStoryboardRequest(_message.Message):
    __slots__ = ("storyboard_id", "member", "access")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    member: str
    access: _storyboard_pb2.StoryboardAccess
    def __init__(self, storyboard_id: _Optional[str] = ..., member: _Optional[str] = ..., access: _Optional[_Union[_storyboard_pb2.StoryboardAccess, str]] = ...) -> None: ...

class ShareStoryboardResponse(_message.Message):
    __slots__ = ("storyboard",)
    STORYBOARD_FIELD_NUMBER: _ClassVar[int]
    storyboard: _storyboard_pb2.Storyboard
    def __init__(self, storyboard: _Optional[_Union[_storyboard_pb2.Storyboard, _Mapping]] = ...) -> None: ...

class UnshareStoryboardRequest(_message.Message):
    __slots__ = ("storyboard_id", "member")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    member: str
    def __init__(self, storyboard_id: _Optional[str] = ..., member: _Optional[str] = ...) -> None: ...

class UnshareStoryboardResponse(_message.Message):
    __slots__ = ("storyboard",)
    STORYBOARD_FIELD_NUMBER: _ClassVar[int]
    storyboard: _storyboard_pb2.Storyboard
    def __init__(self, storyboard: _Optional[_Union[_storyboard_pb2.Storyboard, _Mapping]] = ...) -> None: ...
