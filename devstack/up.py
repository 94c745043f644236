"""`make up`: the whole stack in the foreground on fixed ports, until Ctrl-C. Data stays in `.devstack/up`."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from superstoryboard.config.env_file import EnvFileError
from superstoryboard.db.migrate import MigrationError

from . import mint
from .demo.plan import StoryDatabase
from .first_rows import first_rows
from .stack.console import Console, Sink
from .stack.outside import Outside, OutsideError
from .stack.pipeline import Stack, StackOptions
from .stack.ports import Ports
from .stack.program import StartError
from .stack.rabbitmq import RabbitMQMissingError
from .stack.shell import enter, up_options

STATE = mint.STATE
PIPE_COLUMNS = 200
SERVERS = frozenset({"postgres", "rabbitmq", "epmd"})
NEEDED = {"postgres": "database_url", "amqp": "amqp_url", "google": "google_key", "storage": "supabase_url"}


def main(*, with_env: bool = False, tls: bool = False) -> int:
    """Run on the fixed ports until SIGINT or SIGTERM; see `run`."""
    return run(Ports(), STATE, with_env=with_env, tls=tls)


def run(ports: Ports, state_dir: Path, *, with_env: bool = False, tls: bool = False) -> int:
    """Run until SIGINT or SIGTERM; the exit code is 0 after a clean stop, 1 where the stack could not start.

    It uses nothing outside of this machine, unless `with_env` says that the environment may name it. With `tls` the
    services accept only clients with a certificate of the stack's own authority.
    """
    terminal = Terminal(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    try:
        outside = enter(with_env=with_env)
        return asyncio.run(_run(ports, state_dir, terminal, outside, tls=tls))
    except (StartError, OutsideError, EnvFileError, RabbitMQMissingError, MigrationError, OSError) as error:
        terminal.print(str(error), style="red", markup=False, highlight=False)
        return 1


def exports(stack: Stack) -> dict[str, str]:
    """Settings with which clients of this machine reach the stack."""
    return stack.client_settings() | {
        "STORYBOARD_TOKEN": stack.service_token,
        "DATABASE_URL": stack.database_url,
    }


def describe(stack: Stack) -> Table:
    """Where everything listens."""
    table = Table(title="SuperStoryboard is up", title_justify="left")
    table.add_column("part")
    table.add_column("listens")
    protocol = "gRPC over TLS" if stack.tls else "gRPC"
    for service in ("ingest", "image_worker", "video_worker", "asset_writer"):
        table.add_row(
            service,
            f"{stack.address(service)} ({protocol}), {stack.ports.health_address(service)} (health)",
        )
    outside = stack.options.outside
    table.add_row("Postgres", stack.database_url if outside.database_url is None else "as in DATABASE_URL")
    table.add_row("RabbitMQ", _broker(stack))
    table.add_row("Google", stack.google_url or "the real service")
    table.add_row("Storage", stack.storage_url)
    table.add_row("logs", str(stack.options.state_dir / "logs"))
    return table


def _broker(stack: Stack) -> str:
    if stack.amqp_url is None:
        return "none (rabbitmq-server is not installed): the asset_writer reads the database"
    return "as in AMQP_URL" if stack.options.outside.amqp_url else stack.amqp_url


async def _run(ports: Ports, state_dir: Path, terminal: Terminal, outside: Outside, *, tls: bool) -> int:
    occupied = {name: port for name, port in ports.occupied().items() if not _is_outside(outside, name)}
    if occupied:
        names = ", ".join(f"{port} ({name})" for name, port in occupied.items())
        raise OSError(f"These ports are in use. Is the stack already running? {names}")
    options = StackOptions(
        state_dir=state_dir, ports=ports, outside=outside, tls=tls, sink=_without_servers(Console(sys.stdout))
    )
    work = asyncio.create_task(_serve(options, terminal))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Once: a second signal must not break off the orderly stop.
        loop.add_signal_handler(number, _cancel_once, work)
    try:
        await work
    except asyncio.CancelledError:
        terminal.print("Stopped.")
    return 0


async def _serve(options: StackOptions, terminal: Terminal) -> None:
    terminal.print(f"Starting; data and logs are in {options.state_dir}", highlight=False)
    async with Stack(options) as stack:
        if options.outside.database_url is None:
            await StoryDatabase(stack.database_url, stack.kv_table).put_missing(first_rows())
        lines = [f"export {name}={shlex.quote(value)}" for name, value in exports(stack).items()]
        # So that `storyboard` and `python` are those of this folder.
        lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
        env_file = options.state_dir / "env"
        env_file.touch(mode=0o600)
        env_file.write_text("\n".join(lines) + "\n")
        terminal.print(describe(stack))
        terminal.print("In another terminal (token of role service_role, also in the file):")
        terminal.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
        terminal.print(f"or:  source {env_file}", highlight=False, soft_wrap=True)
        terminal.print(
            "A user's token: storyboard token mint alice; a backend's: storyboard token create", highlight=False
        )
        terminal.print("Ctrl-C stops everything.")
        if options.outside == Outside():
            mint.allow(options.state_dir, **stack.minting())
        try:
            await asyncio.Event().wait()
        finally:
            mint.forbid(options.state_dir)


def _cancel_once(work: asyncio.Task[None]) -> None:
    if not work.cancelling():
        work.cancel()


def _is_outside(outside: Outside, part: str) -> bool:
    return part in NEEDED and getattr(outside, NEEDED[part]) is not None


def _without_servers(sink: Sink) -> Sink:
    """Postgres and RabbitMQ talk to their log files; the terminal is for our own programs."""

    def pass_on(name: str, line: str) -> None:
        if name not in SERVERS:
            sink(name, line)

    return pass_on


if __name__ == "__main__":
    options = up_options(__doc__ or "")
    sys.exit(main(with_env=options.with_env, tls=options.tls))
