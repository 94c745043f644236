"""The whole system on one machine: own Postgres, RabbitMQ and emulators, or real ones as far as they are named."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from superstoryboard.db.migrate import migrate

from .certificates import StackTls
from .child import Child
from .console import LogFiles, Sink, both
from .environments import SERVICES, Environments
from .outside import Outside
from .ports import Ports
from .postgres import Postgres
from .probes import grpc_serving, http_answers
from .program import Program, base_env
from .rabbitmq import RabbitMQ, locate
from .supervisor import Supervisor, together
from .tokens import Secrets

ROOT = Path(__file__).resolve().parents[2]
"""Holds services/, devstack/ and examples/: the checkout, or the installed package superstoryboard."""
PREFIX = __name__.removesuffix("devstack.stack.pipeline")
"""Goes before their names in imports: nothing in a checkout, `superstoryboard.` where they are installed."""
MODULES_FOLDER = None if PREFIX else ROOT
KV_TABLE = "kv_store_7ee7668a"
READY_SECONDS = 60.0
BROKER_SECONDS = 120.0
SERVICE_STOP_SECONDS = 30.0
EMULATOR_STOP_SECONDS = 5.0
EMULATOR_STAGE, SERVICE_STAGE = 2, 3


def _nowhere(name: str, line: str) -> None:
    del name, line


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """How a stack is made."""

    state_dir: Path
    """Data of all parts, and `logs/NAME.log` of each."""
    ports: Ports = field(default_factory=Ports.free)
    outside: Outside = field(default_factory=Outside)
    rabbitmq: bool = True
    """Use a broker where one is named or rabbitmq-server is installed; False never does."""
    image_seconds: float = 0.1
    video_seconds: float = 1.0
    tls: bool = False
    """The services speak mutual TLS, with certificates of an own authority in `tls/`; else plaintext."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings for every service, such as MAX_ATTEMPTS."""
    sink: Sink = _nowhere
    """Takes each output line besides the log files."""


class Stack:
    """A running stack: `async with Stack(options) as stack`. Every process can be killed, stopped and started."""

    def __init__(self, options: StackOptions) -> None:
        self.options = options
        self.ports = options.ports
        outside = options.outside
        self.secrets = Secrets(jwt=outside.jwt_secret) if outside.jwt_secret else Secrets()
        state = options.state_dir
        # The Storage emulator keeps its tables in an own database, never in a real one.
        own_postgres = outside.database_url is None or outside.supabase_url is None
        own_broker = options.rabbitmq and outside.amqp_url is None and locate() is not None
        self._postgres = Postgres(state / "postgres", port=self.ports.postgres) if own_postgres else None
        self._broker = RabbitMQ(state / "rabbitmq", port=self.ports.amqp) if own_broker else None
        self._supervisor = Supervisor(both(LogFiles(state / "logs"), options.sink))
        self.environments = Environments(
            ports=self.ports,
            secrets=self.secrets,
            outside=outside,
            database_url=outside.database_url or (self._postgres.url if self._postgres else ""),
            amqp_url=(outside.amqp_url if options.rabbitmq else None) or (self._broker.url if self._broker else None),
            tls=StackTls.make(state / "tls") if options.tls else None,
            settings=options.settings,
        )
        self._exits = AsyncExitStack()

    @property
    def database_url(self) -> str:
        """The database that the services use."""
        return self.environments.database_url

    @property
    def amqp_url(self) -> str | None:
        """The broker, or None where the asset_writer polls the database."""
        return self.environments.amqp_url

    @property
    def google_url(self) -> str | None:
        """The Google emulator, or None where the real service is used."""
        return self.environments.google_url

    @property
    def storage_url(self) -> str:
        """Where Storage is: the emulator or the real one."""
        return self.environments.storage_url

    @property
    def kv_table(self) -> str:
        """The key-value table that assets are linked in."""
        return self.environments.of("asset_writer").get("KV_TABLE", KV_TABLE)

    @property
    def ingest_address(self) -> str:
        """`host:port` of ingest; `address` knows the others."""
        return self.address("ingest")

    @property
    def service_token(self) -> str:
        """A token of role service_role."""
        return self.secrets.token("devstack", "service_role", self._issuer)

    def user_token(self, subject: str) -> str:
        """A token of a user with this `sub`: of a session at the emulated Auth, else signed with the shared secret."""
        if self.options.outside.supabase_url is None:
            return self.secrets.session(subject, self._issuer)
        return self.secrets.token(subject, issuer=self._issuer)

    def minting(self) -> dict[str, str]:
        """What tokens of users are made with."""
        return {"secret": self.secrets.jwt, "issuer": self._issuer, "ingest_address": self.ingest_address}

    @property
    def _issuer(self) -> str:
        return f"{self.storage_url.rstrip('/')}/auth/v1"

    def address(self, service: str) -> str:
        """`host:port` of a service."""
        return self.ports.address(service)

    @property
    def tls(self) -> StackTls | None:
        """The certificates of the services and of clients; None where they speak plaintext."""
        return self.environments.tls

    def client_settings(self) -> dict[str, str]:
        """Where the services are and whom to trust, for clients on this machine."""
        scheme = "https://" if self.tls else ""
        return {
            "INGEST_ADDRESS": f"{scheme}{self.ingest_address}",
            "IMAGE_WORKER_ADDRESS": f"{scheme}{self.address('image_worker')}",
            "VIDEO_WORKER_ADDRESS": f"{scheme}{self.address('video_worker')}",
        } | (self.tls.client_settings() if self.tls else {})

    def process(self, name: str) -> Child:
        """A process by name: a service, postgres, rabbitmq, epmd, google_emulator or storage_emulator.

        Raises:
            KeyError: there is none, for example because the real system is used instead.
        """
        return self._supervisor[name]

    def processes(self) -> list[Child]:
        """All processes of the stack."""
        return list(self._supervisor)

    async def memory_bytes(self) -> dict[str, int]:
        """Memory of each process with its children (PSS: shared pages are counted once)."""
        return await asyncio.to_thread(self._supervisor.memory_bytes)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._supervisor)
            await self._start()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def _start(self) -> None:
        await together(self._start_broker(), self._start_rest())

    async def _start_rest(self) -> None:
        await self._start_database()
        await self._supervisor.start(*self._emulators(), *self._services(), ready_seconds=READY_SECONDS)

    async def _start_broker(self) -> None:
        if self._broker is not None:
            programs = await asyncio.to_thread(self._broker.prepare)
            for program in programs:
                await self._supervisor.start(program, ready_seconds=BROKER_SECONDS)

    async def _start_database(self) -> None:
        if self._postgres is not None:
            program = await asyncio.to_thread(self._postgres.prepare)
            await self._supervisor.start(program, ready_seconds=READY_SECONDS)
        await asyncio.to_thread(migrate, self.database_url, kv_table=self.kv_table)

    def _services(self) -> list[Program]:
        return [
            Program(
                name=service,
                argv=[sys.executable, "-m", f"{PREFIX}services.{service}"],
                env=self.environments.of(service),
                cwd=MODULES_FOLDER,
                probe=grpc_serving(self.ports.health_address(service)),
                stop_seconds=SERVICE_STOP_SECONDS,
                stage=SERVICE_STAGE,
            )
            for service in SERVICES
        ]

    def _emulators(self) -> list[Program]:
        programs = []
        if self.google_url is not None:
            programs.append(self._google_emulator(self.google_url))
        if self.options.outside.supabase_url is None and self._postgres is not None:
            programs.append(self._storage_emulator(self._postgres.url))
        return programs

    def _google_emulator(self, url: str) -> Program:
        arguments = {
            "api-key": self.secrets.google_key,
            "image-seconds": str(self.options.image_seconds),
            "video-seconds": str(self.options.video_seconds),
        }
        return self._emulator("google", arguments, f"{url}/_emulator/requests")

    def _storage_emulator(self, database_url: str) -> Program:
        arguments = {
            "database-url": database_url,
            "secret-key": self.secrets.storage_secret_key,
            "staging-key": self.secrets.storage_staging_key,
            "anon-key": self.secrets.storage_anon_key,
        }
        keys = self.options.state_dir / "jwks.json"
        keys.parent.mkdir(parents=True, exist_ok=True)
        keys.write_text(json.dumps({"keys": [self.secrets.auth_key.published]}))
        arguments["jwks-file"] = str(keys)
        return self._emulator("storage", arguments, f"{self.storage_url}/health")

    def _emulator(self, name: str, arguments: Mapping[str, str], health_url: str) -> Program:
        state = self.options.state_dir / f"{name}_emulator"
        state.mkdir(parents=True, exist_ok=True)
        fixed = {"host": "127.0.0.1", "port": str(getattr(self.ports, name)), "state-dir": str(state)}
        return Program(
            name=f"{name}_emulator",
            argv=[
                sys.executable,
                "-m",
                f"{PREFIX}devstack.emulators.{name}",
                *(f"--{key}={value}" for key, value in {**fixed, **arguments}.items()),
            ],
            env=base_env(),
            cwd=MODULES_FOLDER,
            probe=http_answers(health_url),
            stop_seconds=EMULATOR_STOP_SECONDS,
            stage=EMULATOR_STAGE,
        )
