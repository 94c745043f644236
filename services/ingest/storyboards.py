"""Owners and members of storyboards: the calls of users, and that of operators."""

from __future__ import annotations

from typing import Any

import grpc

from superstoryboard.domain.service_tokens import RESERVED_OWNERS
from superstoryboard.jobs.storyboards import BoardRefusal, Storyboards
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import ApiError, invalid, not_found
from superstoryboard.rpc.validation import check
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as operators
from superstoryboard.v1 import storyboard_pb2 as board_pb2

ROLES = {board_pb2.STORYBOARD_ACCESS_VIEWER: "viewer", board_pb2.STORYBOARD_ACCESS_EDITOR: "editor"}
ACCESS = {
    "VIEWER": board_pb2.STORYBOARD_ACCESS_VIEWER,
    "EDITOR": board_pb2.STORYBOARD_ACCESS_EDITOR,
    "OWNER": board_pb2.STORYBOARD_ACCESS_OWNER,
    "SHARED": board_pb2.STORYBOARD_ACCESS_SHARED,
}
Context = grpc.aio.ServicerContext[Any, Any]


class StoryboardCalls:
    """The part of GenerationService about storyboards."""

    def __init__(self, storyboards: Storyboards) -> None:
        self._storyboards = storyboards

    async def GetStoryboard(self, request: api.GetStoryboardRequest, context: Context) -> api.GetStoryboardResponse:
        """To whom a storyboard belongs."""
        del context
        check(request)
        return api.GetStoryboardResponse(storyboard=await seen(self._storyboards, request.storyboard_id))

    async def ShareStoryboard(
        self, request: api.ShareStoryboardRequest, context: Context
    ) -> api.ShareStoryboardResponse:
        """Let someone read or write."""
        del context
        check(request)
        await self._set_member(request.storyboard_id, request.member, ROLES[request.access])
        return api.ShareStoryboardResponse(storyboard=await seen(self._storyboards, request.storyboard_id))

    async def UnshareStoryboard(
        self, request: api.UnshareStoryboardRequest, context: Context
    ) -> api.UnshareStoryboardResponse:
        """Let someone do neither; whoever was no member stays none."""
        del context
        check(request)
        await self._set_member(request.storyboard_id, request.member, None)
        return api.UnshareStoryboardResponse(storyboard=await seen(self._storyboards, request.storyboard_id))

    async def _set_member(self, storyboard: str, member: str, role: str | None) -> None:
        check_name("member", member)
        refuse(storyboard, await self._storyboards.share(storyboard, caller().storyboard_names, member, role))


class TransferCalls:
    """The part of QueueService about storyboards."""

    def __init__(self, storyboards: Storyboards) -> None:
        self._storyboards = storyboards

    async def TransferStoryboard(
        self, request: operators.TransferStoryboardRequest, context: Context
    ) -> operators.TransferStoryboardResponse:
        """Give a storyboard to an owner."""
        del context
        check(request)
        check_name("owner", request.owner)
        refuse(request.storyboard_id, await self._storyboards.transfer(request.storyboard_id, request.owner))
        board = await seen(self._storyboards, request.storyboard_id)
        return operators.TransferStoryboardResponse(storyboard=board)


def not_yours(storyboard: str) -> ApiError:
    """PERMISSION_DENIED for a write to a storyboard of someone else."""
    return ApiError(
        grpc.StatusCode.PERMISSION_DENIED,
        "NOT_YOURS",
        f"storyboard {storyboard} belongs to someone else; its owner can share it with you as an editor",
    )


def source_not_yours(field: str) -> ApiError:
    """PERMISSION_DENIED for a source image that belongs to someone else; `field` holds the generation."""
    rule = "is in a private bucket, in a storyboard that you may not read"
    field = f"{field}.source_image_url"
    return ApiError(grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS", f"{field}: {rule}", violations=[(field, rule)])


def check_name(field: str, name: str) -> None:
    """Refuse a name that no caller can bear.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not name.strip() or not name.isprintable() or name in RESERVED_OWNERS:
        raise invalid([(field, "must be a caller's name: printable, and not sql, service_role or local")])


def refuse(storyboard: str, refusal: BoardRefusal | None) -> None:
    """Raise what a refusal means, if it is one.

    Raises:
        ApiError: NOT_FOUND, PERMISSION_DENIED or FAILED_PRECONDITION.
    """
    if refusal is None:
        return
    problem = REFUSED.get(refusal)
    raise problem(storyboard) if problem else not_found(f"storyboard {storyboard}")


def _not_the_owner(storyboard: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS", f"only the owner of storyboard {storyboard} may share it"
    )


def _no_owner(storyboard: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_OWNER",
        f"storyboard {storyboard} has no owner; TransferStoryboard gives it one, unless SHARED_STORYBOARDS names it",
    )


def _owner_in_kv(storyboard: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "OWNER_IN_KV",
        f"the kv row of storyboard {storyboard} names another owner; change the row",
    )


def _too_many_members(storyboard: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "MEMBER_LIMIT",
        f"storyboard {storyboard} has 100 members, which is the most; remove one first",
    )


REFUSED = {
    BoardRefusal.NOT_YOURS: _not_the_owner,
    BoardRefusal.NO_OWNER: _no_owner,
    BoardRefusal.OWNER_IN_KV: _owner_in_kv,
    BoardRefusal.MEMBER_LIMIT: _too_many_members,
}


async def seen(storyboards: Storyboards, storyboard: str) -> board_pb2.Storyboard:
    """A storyboard as the caller sees it.

    Raises:
        ApiError: NOT_FOUND, also where it belongs to someone else.
    """
    row = await storyboards.get(storyboard, caller().storyboard_names)
    if row is None:
        raise not_found(f"storyboard {storyboard}")
    board = board_pb2.Storyboard(
        id=row["id"],
        owner=row["owner"],
        access=_access(row["access"]),
        members=[
            board_pb2.StoryboardMember(member=each["member"], access=_access(each["role"].upper()))
            for each in row["members"]
        ],
    )
    if row["lapses_at"] is not None:
        board.lapse_time.FromDatetime(row["lapses_at"])
    return board


def _access(word: str) -> board_pb2.StoryboardAccess:
    return ACCESS[word]
