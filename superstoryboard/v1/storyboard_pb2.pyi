import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StoryboardAccess(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STORYBOARD_ACCESS_UNSPECIFIED: _ClassVar[StoryboardAccess]
    STORYBOARD_ACCESS_VIEWER: _ClassVar[StoryboardAccess]
    STORYBOARD_ACCESS_EDITOR: _ClassVar[StoryboardAccess]
    STORYBOARD_ACCESS_OWNER: _ClassVar[StoryboardAccess]
    STORYBOARD_ACCESS_SHARED: _ClassVar[StoryboardAccess]
STORYBOARD_ACCESS_UNSPECIFIED: StoryboardAccess
STORYBOARD_ACCESS_VIEWER: StoryboardAccess
STORYBOARD_ACCESS_EDITOR: StoryboardAccess
STORYBOARD_ACCESS_OWNER: StoryboardAccess
STORYBOARD_ACCESS_SHARED: StoryboardAccess

class StoryboardMember(_message.Message):
    __slots__ = ("member", "access")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    member: str
    access: StoryboardAccess
    def __init__(self, member: _Optional[str] = ..., access: _Optional[_Union[StoryboardAccess, str]] = ...) -> None: ...

class Storyboard(_message.Message):
    __slots__ = ("id", "owner", "lapse_time", "access", "members")
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LAPSE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    id: str
    owner: str
    lapse_time: _timestamp_pb2.Timestamp
    access: StoryboardAccess
    members: _containers.RepeatedCompositeFieldContainer[StoryboardMember]
    def __init__(self, id: _Optional[str] = ..., owner: _Optional[str] = ..., lapse_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., access: _Optional[_Union[StoryboardAccess, str]] = ..., members: _Optional[_Iterable[_Union[StoryboardMember, _Mapping]]] = ...) -> None: ...
