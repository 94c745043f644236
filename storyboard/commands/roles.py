"""`roles`: a database login for each service."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import secret
from storyboard.terminal.output import print_line, say

if TYPE_CHECKING:
    from superstoryboard.db.logins import Login

ADDRESSES = ("DATABASE_URL", "DATABASE_LISTEN_URL")


class Service(StrEnum):
    """Who may have a login."""

    INGEST = "ingest"
    IMAGE_WORKER = "image_worker"
    VIDEO_WORKER = "video_worker"
    ASSET_WRITER = "asset_writer"
    SWEEP = "sweep"


SERVICES: list[Service] = [service for service in Service if service is not Service.SWEEP]


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Make database logins for the services.")
    group.command("create")(create)
    # A group of one command would else be that command.
    group.callback()(_group)
    app.add_typer(group, name="roles", rich_help_panel="Operate")


def _group() -> None:
    """Make database logins for the services, each with no more rights than its service needs."""


def create(
    *,
    services: Annotated[
        list[Service] | None,
        typer.Option("--service", help="Only for this service; repeatable. sweep is a login for pg_cron."),
    ] = None,
    suffix: Annotated[str, typer.Option("--suffix", help="Last part of the logins' names.")] = "login",
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Write a file SERVICE.env for each, readable by you alone.")
    ] = None,
    new_passwords: Annotated[bool, typer.Option("--new-passwords", help="Also for logins that exist.")] = False,
) -> None:
    """Make a database login for each service and print its DATABASE_URL, once.

    DATABASE_URL names the migrated database, with the user who migrates. Safe to repeat: a login that exists keeps its
    password. The server gets no password, only its SCRAM verifier.

    [bold]Examples[/bold]

      storyboard roles create --directory logins

      storyboard roles create --service ingest --new-passwords
    """
    urls = {name: url for name in ADDRESSES if (url := secret(name))}
    if ADDRESSES[0] not in urls:
        raise CommandError(ExitCode.USAGE, ["Set DATABASE_URL (or DATABASE_URL_FILE) to the migrated database."])
    if not (suffix.isascii() and suffix.replace("_", "").isalnum() and suffix == suffix.lower() and len(suffix) <= 20):
        raise typer.BadParameter("must be at most 20 lower case letters, digits and _", param_hint="--suffix")
    for login, lines in _create(urls, services or SERVICES, suffix, new_passwords=new_passwords, directory=directory):
        if login.password is None:
            say(f"{login.name} exists and keeps its password (--new-passwords gives it another).")
        elif directory is None:
            print_line(f"# {login.service}")
            print_line("".join(lines).rstrip())
        else:
            say(f"Wrote {directory / _file_of(login)}.")
    if directory is None:
        say("Keep new passwords now: they are not shown again.")


def _create(
    urls: dict[str, str],
    services: list[Service],
    suffix: str,
    *,
    new_passwords: bool,
    directory: Path | None,
) -> list[tuple[Login, list[str]]]:
    # Only this command needs a database driver.
    import psycopg  # noqa: PLC0415

    from superstoryboard.db.logins import LoginsError, create_logins, login_url  # noqa: PLC0415
    from superstoryboard.db.migrate import CONNECT_TIMEOUT_SECONDS  # noqa: PLC0415

    try:
        # One transaction, at whose end the files are there: no password is in force that nobody knows.
        with psycopg.connect(
            urls[ADDRESSES[0]], prepare_threshold=None, connect_timeout=CONNECT_TIMEOUT_SECONDS
        ) as connection:
            [user] = connection.execute("select current_user::text").fetchone() or [""]
            logins = create_logins(connection, services, suffix=suffix, new_passwords=new_passwords)
            made = [
                (login, [f"{name}={login_url(url, user, login)}\n" for name, url in urls.items()]) for login in logins
            ]
            for login, lines in made if directory else ():
                if login.password is not None:
                    _write(directory / _file_of(login), "".join(lines))  # type: ignore[operator]
            return made
    except LoginsError as error:
        raise CommandError(ExitCode.FAILED, [str(error)]) from error
    except OSError as error:
        raise CommandError(
            ExitCode.FAILED, [f"The files cannot be written, and nothing was changed: {error}"]
        ) from error
    except psycopg.OperationalError as error:
        advice = "Check that the database of DATABASE_URL runs and accepts connections from this machine."
        raise CommandError(ExitCode.UNREACHABLE, [f"The database is not reachable: {error}", advice]) from error
    except psycopg.Error as error:
        raise CommandError(ExitCode.FAILED, [f"The database reported an error: {error}"]) from error


def _file_of(login: Login) -> str:
    return f"{login.service.replace('_', '-')}.env"


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, from its first byte on."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(descriptor, 0o600)
        opened.truncate()
        opened.write(text)
