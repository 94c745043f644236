"""`token`: service tokens of backends, CronJobs and outside workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer
from rich.text import Text

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import secret, token
from storyboard.api.token_client import Tokens, connect_tokens
from storyboard.commands.operate import run_devstack
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_line, print_proto, print_table, say
from storyboard.terminal.views import time_text
from superstoryboard.domain.kinds import KINDS
from superstoryboard.domain.service_tokens import fingerprint, new_token
from superstoryboard.v1 import token_service_pb2 as api

ROLES = {
    "service_role": api.ServiceTokenRole.SERVICE_TOKEN_ROLE_SERVICE_ROLE,
    "worker": api.ServiceTokenRole.SERVICE_TOKEN_ROLE_WORKER,
}
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
HEADER = ("NAME", "ROLE", "FOR", "CREATED BY", "CREATED", "LAST USE", "EXPIRES", "REVOKED")

Name = Annotated[str, typer.Option("--name", help="Lower case letters, digits, hyphens; at most 31.")]
RoleName = Annotated[Literal["service_role", "worker"], typer.Option("--role", help="What it may do.")]
ByDatabase = Annotated[bool, typer.Option("--database", help="Use DATABASE_URL, also where STORYBOARD_TOKEN is set.")]


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    group.command("create")(create)
    group.command("list")(list_tokens)
    group.command("revoke")(revoke)
    group.command("mint")(mint)
    app.add_typer(
        group,
        name="token",
        rich_help_panel="Operate",
        help="Create, list and revoke service tokens. Needs the role service_role, or DATABASE_URL.",
    )


def create(
    *,
    name: Name,
    role: RoleName,
    owner: Annotated[str, typer.Option("--owner", metavar="ID", help="Let it act for this owner only.")] = "",
    queues: Annotated[str, typer.Option("--queues", help="Queues of a worker: images, videos or PGMQ names.")] = "",
    expires: Annotated[str, typer.Option("--expires", metavar="TIME", help="Such as 90d, 12h or 30m.")] = "",
    for_file: Annotated[
        bool, typer.Option("--for-file", help="Store nothing; print the line for SERVICE_TOKENS_FILE on stderr.")
    ] = False,
    by_database: ByDatabase = False,
    as_json: Json = False,
) -> None:
    """Create a service token and print it, once.

    A token of role service_role may call on behalf of any owner, whom the metadata `on_behalf_of` names.

    [bold]Example[/bold]

      storyboard token create --name sweep --role service_role --expires 365d
    """
    names = {kind.plural: kind.queue for kind in KINDS.values()}
    queue_names = [names.get(queue, queue) for queue in queues.split(",") if queue]
    if for_file:
        _print_line_of_file(name, role, queue_names, unused=owner or expires)
        return
    request = api.CreateServiceTokenRequest(name=name, role=ROLES[role], owner=owner, queues=queue_names)
    if expires:
        request.expire_time.FromDatetime(datetime.now(UTC) + _duration(expires))
    with _tokens(by_database=by_database) as tokens:
        made = tokens.create(request)
    if as_json:
        print_proto(made)
        return
    print_line(made.token)
    say(f"Keep this token now: it is not stored and not shown again. Revoke it by `storyboard token revoke {name}`.")


def list_tokens(*, by_database: ByDatabase = False, as_json: Json = False) -> None:
    """List service tokens, live ones first.

    [bold]Example[/bold]

      storyboard token list
    """
    with _tokens(by_database=by_database) as tokens:
        listed = tokens.listed()
    if as_json:
        print_proto(api.ListServiceTokensResponse(service_tokens=listed))
    elif listed:
        print_table(HEADER, map(_row, listed))
    else:
        say("No service tokens.")


def revoke(
    name: Annotated[str, typer.Argument(help="Name of the token.", show_default=False)],
    *,
    by_database: ByDatabase = False,
) -> None:
    """Revoke a service token: within 5 seconds every service refuses it and ends its streams.

    [bold]Example[/bold]

      storyboard token revoke sweep
    """
    with _tokens(by_database=by_database) as tokens:
        tokens.revoke(name)
    print_line(f"Revoked {name}.")


def mint(
    subject: Annotated[str, typer.Argument(help="Who calls: the owner of the jobs.", show_default=False)],
    *,
    role: Annotated[
        Literal["authenticated", "service_role"], typer.Option("--role", help="What it may do.")
    ] = "authenticated",
) -> None:
    """Make a token of a user for the system that `storyboard up` runs here, and for no other.

    [bold]Example[/bold]

      STORYBOARD_TOKEN=$(storyboard token mint alice) storyboard list
    """
    run_devstack("superstoryboard.devstack.mint", subject=subject, role=role)


@contextmanager
def _tokens(*, by_database: bool) -> Iterator[Tokens]:
    url = secret("DATABASE_URL")
    if by_database and not url:
        raise CommandError(ExitCode.USAGE, ["Set DATABASE_URL (or DATABASE_URL_FILE) to the migrated database."])
    if by_database or (url and not token()):
        # Only here is a database driver needed.
        from storyboard.commands.token_database import KeptTokens  # noqa: PLC0415

        yield KeptTokens(url)
        return
    with connect_tokens() as tokens:
        yield tokens


def _print_line_of_file(name: str, role: str, queues: list[str], *, unused: str) -> None:
    if unused:
        raise typer.BadParameter("cannot be used with --owner or --expires", param_hint="--for-file")
    made = new_token()
    print_line(made)
    say(" ".join([name, role, fingerprint(made), *([",".join(queues)] if queues else [])]))


def _duration(text: str) -> timedelta:
    duration = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if duration is None:
        raise typer.BadParameter("must be a number with m, h or d, such as 90d", param_hint="--expires")
    return timedelta(**{UNITS[duration[2]]: int(duration[1])})


def _row(each: api.ServiceToken) -> list[Text]:
    role = next(name for name, number in ROLES.items() if number == each.role)
    times = (each.create_time, each.last_use_time, each.expire_time, each.revoke_time)
    words = (each.name, role, each.owner or ",".join(each.queues), each.created_by, *map(time_text, times))
    return [Text(word) for word in words]
