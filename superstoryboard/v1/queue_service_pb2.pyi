import datetime

from superstoryboard.v1 import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from superstoryboard.v1 import job_pb2 as _job_pb2
from superstoryboard.v1 import storyboard_pb2 as _storyboard_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListQueuesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Gate(_message.Message):
    __slots__ = ("provider", "model", "closed_until", "reason")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CLOSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    closed_until: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., closed_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("name", "kind", "depth", "due", "oldest_age", "in_flight", "staged", "dead_lettered", "paused", "gates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _job_pb2.JobKind
    depth: int
    due: int
    oldest_age: _duration_pb2.Duration
    in_flight: int
    staged: int
    dead_lettered: int
    paused: bool
    gates: _containers.RepeatedCompositeFieldContainer[Gate]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_job_pb2.JobKind, str]] = ..., depth: _Optional[int] = ..., due: _Optional[int] = ..., oldest_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., in_flight: _Optional[int] = ..., staged: _Optional[int] = ..., dead_lettered: _Optional[int] = ..., paused: _Optional[bool] = ..., gates: _Optional[_Iterable[_Union[Gate, _Mapping]]] = ...) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues",)
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("job", "provider_calls", "unknown_outcomes")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CALLS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    provider_calls: int
    unknown_outcomes: int
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., provider_calls: _Optional[int] = ..., unknown_outcomes: _Optional[int] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("queue", "page_size", "page_token", "job_ids")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    queue: str
    page_size: int
    page_token: str
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, queue: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters", "next_page_token")
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_page_token: str
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RedriveDeadLettersRequest(_message.Message):
    __slots__ = ("job_ids", "image", "video", "accept_second_payment")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_SECOND_PAYMENT_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    image: _job_pb2.ImageGeneration
    video: _job_pb2.VideoGeneration
    accept_second_payment: bool
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ..., image: _Optional[_Union[_job_pb2.ImageGeneration, _Mapping]] = ..., video: _Optional[_Union[_job_pb2.VideoGeneration, _Mapping]] = ..., accept_second_payment: _Optional[bool] = ...) -> None: ...

class RedriveDeadLettersResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ...) -> None: ...

class DiscardDeadLettersRequest(_message.Message):
    __slots__ = ("job_ids",)
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DiscardDeadLettersResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ...) -> None: ...

class RecordOperationRequest(_message.Message):
    __slots__ = ("job_id", "operation_name")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_NAME_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    operation_name: str
    def __init__(self, job_id: _Optional[str] = ..., operation_name: _Optional[str] = ...) -> None: ...

class RecordOperationResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class SweepRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SweepDuty(_message.Message):
    __slots__ = ("name", "count", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    error: str
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class SweepResponse(_message.Message):
    __slots__ = ("duties",)
    DUTIES_FIELD_NUMBER: _ClassVar[int]
    duties: _containers.RepeatedCompositeFieldContainer[SweepDuty]
    def __init__(self, duties: _Optional[_Iterable[_Union[SweepDuty, _Mapping]]] = ...) -> None: ...

class PauseQueueRequest(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: str
    def __init__(self, queue: _Optional[str] = ...) -> None: ...

class PauseQueueResponse(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: Queue
    def __init__(self, queue: _Optional[_Union[Queue, _Mapping]] = ...) -> None: ...

class ResumeQueueRequest(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: str
    def __init__(self, queue: _Optional[str] = ...) -> None: ...

class ResumeQueueResponse(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: Queue
    def __init__(self, queue: _Optional[_Union[Queue, _Mapping]] = ...) -> None: ...

class TransferStoryboardRequest(_message.Message):
    __slots__ = ("storyboard_id", "owner")
    STORYBOARD_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    storyboard_id: str
    owner: str
    def __init__(self, storyboard_id: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class TransferStoryboardResponse(_message.Message):
    __slots__ = ("storyboard",)
    STORYBOARD_FIELD_NUMBER: _ClassVar[int]
    storyboard: _storyboard_pb2.Storyboard
    def __init__(self, storyboard: _Optional[_Union[_storyboard_pb2.Storyboard, _Mapping]] = ...) -> None: ...
