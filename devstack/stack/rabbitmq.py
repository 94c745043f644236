"""A private RabbitMQ node from an installed rabbitmq-server: loopback only, small, with an epmd of its own.

The wrapper in /usr/sbin switches users and shares one epmd with every Erlang program of the machine; the node is
therefore started from the server's own script, and its epmd is a child of ours like any other.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from .accounts import Account, borrowed_account
from .ports import LOOPBACK, free_port, is_free
from .program import BlockingProcess, Program, base_env

ACCOUNT = "rabbitmq"
SERVER_FOLDERS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/homebrew/opt/rabbitmq/sbin"), Path("/opt/rabbitmq/sbin"))
START_SECONDS = 120.0
PROBE_SECONDS = 2.0
INSTALL_SECONDS = 600
# `+Mea min` leaves memory to malloc, which saves a quarter; one scheduler is enough for a few messages a second.
ERLANG_FLAGS = "-noinput +Mea min +S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
CONFIG = """\
listeners.tcp.1 = {address}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 256MB
raft.wal_max_size_bytes = 16777216
log.file.level = warning
log.console = false
"""


class RabbitMQMissingError(Exception):
    """No RabbitMQ can be had: AMQP_URL is not set, rabbitmq-server is not installed, and it cannot be installed."""


def locate() -> Path | None:
    """The server's own start script, or None where rabbitmq-server is not installed."""
    if shutil.which("erl") is None or _epmd() is None:
        return None
    scripts = [folder / "rabbitmq-server" for folder in SERVER_FOLDERS]
    return next((script for script in scripts if script.exists()), None)


class RabbitMQ:
    """One node on one folder; start and stop it as often as you like, or use it as a context manager."""

    def __init__(self, folder: Path, *, port: int | None = None, config: str = "") -> None:
        """`config` are further lines of its configuration; files that they name must be readable to its account."""
        self._config = config
        self._folder = folder.resolve()
        self._script = locate()
        self._account: Account | None = None
        self._processes: list[BlockingProcess] = []
        self.port = port or free_port()
        self._epmd_port = free_port()
        self._distribution_port = free_port()
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    @property
    def pid(self) -> int | None:
        """The node's process id, or None where `start` was not called or it has ended."""
        return self._processes[-1].pid if self._processes else None

    def prepare(self) -> list[Program]:
        """Lay out the folder, and return the commands in the order in which they start: epmd, then the node.

        Raises:
            RabbitMQMissingError: rabbitmq-server is not installed.
        """
        epmd = _epmd()
        if self._script is None or epmd is None:
            raise RabbitMQMissingError("rabbitmq-server is not installed")
        self._account = borrowed_account(ACCOUNT)
        for name in ("home", "data", "log"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "rabbitmq.conf").write_text(CONFIG.format(address=f"{LOOPBACK}:{self.port}") + self._config)
        if self._account is not None:
            self._account.own(self._folder)
        return [
            Program(
                name="epmd",
                argv=[str(epmd), "-port", str(self._epmd_port), "-address", LOOPBACK],
                env=self._env(),
                cwd=self._folder,
                account=self._account,
                probe=lambda: asyncio.to_thread(self._epmd_answers),
            ),
            Program(
                name="rabbitmq",
                argv=[str(self._script)],
                env=self._env(),
                cwd=self._folder,
                account=self._account,
                probe=lambda: asyncio.to_thread(self.answers),
                stage=1,
            ),
        ]

    def answers(self) -> bool:
        """Whether the node speaks AMQP: it greets a client with its first frame. Blocks for a moment."""
        return speaks_amqp(LOOPBACK, self.port)

    def start(self) -> Self:
        """Start, and return once a client can connect; takes a few seconds.

        Raises:
            RabbitMQMissingError: rabbitmq-server is not installed.
            StartError: it did not become ready; the message has its log.
        """
        if self.pid is None:
            self.stop()
            epmd, node = (BlockingProcess(program, self._folder / program.name) for program in self.prepare())
            self._processes = [epmd, node]
            epmd.start(self._epmd_answers, START_SECONDS)
            node.start(self.answers, START_SECONDS)
        return self

    def stop(self, number: signal.Signals | None = None) -> None:
        """Stop the node (or send it another signal, such as SIGKILL), then its epmd."""
        processes, self._processes = self._processes, []
        for process, chosen in zip(reversed(processes), (number, None), strict=False):
            process.stop(chosen)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _epmd_answers(self) -> bool:
        return not is_free(self._epmd_port)

    def _env(self) -> dict[str, str]:
        folder = self._folder
        return base_env() | {
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"storyboard-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            # Files that do not exist: the machine's own configuration is for the machine's own node.
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            # Makes the script become the Erlang machine instead of waiting for it: the pid is the node's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
        }


def speaks_amqp(host: str, port: int) -> bool:
    """Whether a broker greets an AMQP 0-9-1 client with a method frame on channel 0."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(3) == b"\x01\x00\x00"
    except OSError:
        return False


@contextmanager
def ensure_rabbitmq(folder: Path) -> Iterator[str]:
    """The URL of a broker for tests: AMQP_URL, else a private node, installed first where we may.

    Raises:
        RabbitMQMissingError: says what to do.
    """
    given = os.environ.get("AMQP_URL")
    if given:
        yield given
        return
    if locate() is None:
        _install()
    with RabbitMQ(folder) as node:
        yield node.url


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RabbitMQMissingError("set AMQP_URL, or install rabbitmq-server (Debian: apt-get install rabbitmq-server)")
    # At runlevel 1 Debian's service helper leaves the machine's own node alone.
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", "rabbitmq-server"],
    ):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        if done.returncode:
            raise RabbitMQMissingError(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
    if locate() is None:
        raise RabbitMQMissingError("rabbitmq-server was installed, but its start script was not found")


def _epmd() -> Path | None:
    """The port mapper that belongs to the installed Erlang."""
    epmd = shutil.which("epmd")
    return Path(epmd) if epmd else None
