"""`migrate`, `up` and `demo`: for whoever runs the system."""

from __future__ import annotations

import importlib
import os
from typing import Annotated

import typer

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import DEFAULT_KV_TABLE, secret
from storyboard.terminal.output import print_line

PANEL = "Operate"
WithEnv = Annotated[
    bool,
    typer.Option("--with-env", help="Use the systems that the environment and .env configure, instead of emulators."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("migrate", rich_help_panel=PANEL)(migrate)
    app.command("up", rich_help_panel=PANEL)(up)
    app.command("demo", rich_help_panel=PANEL)(demo)


def migrate(
    *,
    anon_may_send: Annotated[
        bool,
        typer.Option("--anon-may-send", envvar="ANON_MAY_SEND", help="Let role anon call public.pgmq_send."),
    ] = False,
) -> None:
    """Migrate the database to the current schema.

    Safe to repeat. DATABASE_URL names the database, KV_TABLE the key-value table, which is created if missing and
    otherwise not changed, STAGING_BUCKET the bucket that the role of the staging key may use.

    [bold]Example[/bold]

      DATABASE_URL=postgresql://… storyboard migrate
    """
    database_url = secret("DATABASE_URL")
    if not database_url:
        raise CommandError(ExitCode.USAGE, ["Set DATABASE_URL (or DATABASE_URL_FILE) to the database to migrate."])
    for sentence in _migrate(database_url, anon_may_send=anon_may_send):
        print_line(sentence)


def up(
    *,
    with_env: WithEnv = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="Let the services speak mutual TLS, with certificates of an own authority.")
    ] = False,
) -> None:
    """Run the whole system on this machine.

    Starts database, emulators and services, without any account; stop with Ctrl-C.
    """
    run_devstack("superstoryboard.devstack.up", with_env=with_env, tls=tls)


def demo(*, with_env: WithEnv = False) -> None:
    """Run a demonstration of the whole system, on free ports."""
    run_devstack("superstoryboard.devstack.demo.__main__", with_env=with_env)


def _migrate(database_url: str, *, anon_may_send: bool) -> list[str]:
    # Only this command needs a database driver.
    import psycopg  # noqa: PLC0415

    from superstoryboard.db.migrate import STAGING_BUCKET, MigrationError, migrate  # noqa: PLC0415

    kv_table = os.environ.get("KV_TABLE") or DEFAULT_KV_TABLE
    staging_bucket = os.environ.get("STAGING_BUCKET") or STAGING_BUCKET
    try:
        return migrate(database_url, kv_table=kv_table, anon_may_send=anon_may_send, staging_bucket=staging_bucket)
    except MigrationError as error:
        raise CommandError(ExitCode.FAILED, [str(error)]) from error
    except psycopg.OperationalError as error:
        advice = "Check that the database of DATABASE_URL runs and accepts connections from this machine."
        raise CommandError(ExitCode.UNREACHABLE, [f"The database is not reachable: {error}", advice]) from error
    except psycopg.Error as error:
        raise CommandError(ExitCode.FAILED, [f"The database reported an error: {error}"]) from error


def run_devstack(module: str, **options: object) -> None:
    """Run a program of the devstack, whose packages may be missing.

    Raises:
        CommandError: they are.
        typer.Exit: it ended badly.
    """
    try:
        program = importlib.import_module(module)
    except ModuleNotFoundError as error:
        advice = "Install them: pip install 'superstoryboard[devstack]'"
        raise CommandError(
            ExitCode.FAILED, [f"The devstack's packages are missing ({error.name}). {advice}"]
        ) from error
    code = program.main(**options)
    if code:
        raise typer.Exit(code)
