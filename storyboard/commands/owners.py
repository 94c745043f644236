"""`owner`, `share`, `unshare` and `transfer`: to whom storyboards belong, and who else may read or write them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from storyboard.api.storyboard_client import get_storyboard, share_storyboard, transfer_storyboard, unshare_storyboard
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_line, print_proto, print_table
from superstoryboard.v1 import storyboard_pb2 as board_pb2

PANEL = "Storyboards"
HEADER = ("MEMBER", "MAY")
MAY = {
    board_pb2.STORYBOARD_ACCESS_VIEWER: "read",
    board_pb2.STORYBOARD_ACCESS_EDITOR: "read and write",
    board_pb2.STORYBOARD_ACCESS_OWNER: "read, write and share",
    board_pb2.STORYBOARD_ACCESS_SHARED: "write",
}
StoryboardId = Annotated[str, typer.Argument(metavar="STORYBOARD", help="Id of the storyboard.", show_default=False)]
Member = Annotated[str, typer.Argument(metavar="USER", help="Id of the user (sub of the token).", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("owner", rich_help_panel=PANEL)(owner)
    app.command("share", rich_help_panel=PANEL)(share)
    app.command("unshare", rich_help_panel=PANEL)(unshare)
    app.command("transfer", rich_help_panel=PANEL)(transfer)


def owner(storyboard: StoryboardId, *, as_json: Json = False) -> None:
    """Show to whom a storyboard belongs, and its members.

    [bold]Example[/bold]

      storyboard owner my-storyboard
    """
    _print(get_storyboard(storyboard), as_json=as_json)


def share(
    storyboard: StoryboardId,
    user: Member,
    *,
    editor: Annotated[bool, typer.Option("--editor", help="Let the user also write.")] = False,
    as_json: Json = False,
) -> None:
    """Let a user read a storyboard's jobs and assets, or also write.

    Only its owner may. Run again with or without --editor to change what a member may do.

    [bold]Example[/bold]

      storyboard share my-storyboard 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10 --editor
    """
    access = board_pb2.STORYBOARD_ACCESS_EDITOR if editor else board_pb2.STORYBOARD_ACCESS_VIEWER
    _print(share_storyboard(storyboard, user, access), as_json=as_json)


def unshare(storyboard: StoryboardId, user: Member, *, as_json: Json = False) -> None:
    """Let a user read and write a storyboard no more.

    Only its owner may. Jobs of the user that still run are stored, but shown nowhere.

    [bold]Example[/bold]

      storyboard unshare my-storyboard 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10
    """
    _print(unshare_storyboard(storyboard, user), as_json=as_json)


def transfer(storyboard: StoryboardId, user: Member, *, as_json: Json = False) -> None:
    """Make a user the owner of a storyboard.

    Members of the earlier owner are removed. Needs the role service_role.

    [bold]Example[/bold]

      storyboard transfer my-storyboard 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10
    """
    _print(transfer_storyboard(storyboard, user), as_json=as_json)


def _print(board: board_pb2.Storyboard, *, as_json: bool) -> None:
    if as_json:
        print_proto(board)
        return
    if board.owner:
        until = (
            f" until {board.lapse_time.ToJsonString()}, unless an asset is stored"
            if board.HasField("lapse_time")
            else ""
        )
        print_line(f"{board.id} belongs to {board.owner}{until}.")
    else:
        print_line(f"{board.id} has no owner.")
    print_line(f"You may {MAY[board.access]}.")
    if board.members:
        print_table(HEADER, [[Text(each.member), Text(MAY[each.access])] for each in board.members])
