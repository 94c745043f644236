import datetime

from superstoryboard.v1 import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServiceTokenRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVICE_TOKEN_ROLE_UNSPECIFIED: _ClassVar[ServiceTokenRole]
    SERVICE_TOKEN_ROLE_SERVICE_ROLE: _ClassVar[ServiceTokenRole]
    SERVICE_TOKEN_ROLE_WORKER: _ClassVar[ServiceTokenRole]
SERVICE_TOKEN_ROLE_UNSPECIFIED: ServiceTokenRole
SERVICE_TOKEN_ROLE_SERVICE_ROLE: ServiceTokenRole
SERVICE_TOKEN_ROLE_WORKER: ServiceTokenRole

class ServiceToken(_message.Message):
    __slots__ = ("name", "role", "owner", "queues", "created_by", "create_time", "expire_time", "last_use_time", "revoked_by", "revoke_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKED_BY_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: ServiceTokenRole
    owner: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    created_by: str
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    last_use_time: _timestamp_pb2.Timestamp
    revoked_by: str
    revoke_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[ServiceTokenRole, str]] = ..., owner: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., created_by: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoked_by: _Optional[str] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateServiceTokenRequest(_message.Message):
    __slots__ = ("name", "role", "owner", "queues", "expire_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: ServiceTokenRole
    owner: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[ServiceTokenRole, str]] = ..., owner: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateServiceTokenResponse(_message.Message):
    __slots__ = ("service_token", "token")
    SERVICE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    service_token: ServiceToken
    token: str
    def __init__(self, service_token: _Optional[_Union[ServiceToken, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class ListServiceTokensRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServiceTokensResponse(_message.Message):
    __slots__ = ("service_tokens",)
    SERVICE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    service_tokens: _containers.RepeatedCompositeFieldContainer[ServiceToken]
    def __init__(self, service_tokens: _Optional[_Iterable[_Union[ServiceToken, _Mapping]]] = ...) -> None: ...

class RevokeServiceTokenRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RevokeServiceTokenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
