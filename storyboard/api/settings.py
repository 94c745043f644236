"""What the command line takes from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from storyboard.api.addresses import parse_address
from storyboard.api.errors import CommandError, ExitCode
from superstoryboard.domain.kinds import IMAGE, VIDEO, Kind

DEFAULT_STORYBOARD = "test-storyboard"
DEFAULT_KV_TABLE = "kv_store_7ee7668a"
WORKERS = {
    IMAGE.name: ("IMAGE_WORKER_ADDRESS", "127.0.0.1:50052"),
    VIDEO.name: ("VIDEO_WORKER_ADDRESS", "127.0.0.1:50053"),
}
"""Setting and default of the address of a kind's worker, where it has a default."""


@dataclass(frozen=True)
class Endpoint:
    """One service: its name for people, the setting that holds its address, `host:port`, and whether it speaks TLS."""

    service: str
    setting: str
    address: str
    tls: bool = False


def ingest_endpoint() -> Endpoint:
    """Where jobs are created, read and watched."""
    return _endpoint("ingest service", "INGEST_ADDRESS", "127.0.0.1:50051")


def worker_endpoint(kind: Kind) -> Endpoint:
    """The worker of a kind."""
    setting, default = WORKERS.get(kind.name, (f"{kind.name.upper()}_WORKER_ADDRESS", ""))
    return _endpoint(f"{kind.name} worker", setting, default)


def token() -> str:
    """The caller's bearer token; empty where none is set."""
    return secret("STORYBOARD_TOKEN")


def secret(name: str) -> str:
    """A setting, or the text of the file that `{name}_FILE` names; empty where neither is set.

    Raises:
        CommandError: the file cannot be read.
    """
    file = os.environ.get(f"{name}_FILE")
    if not file or os.environ.get(name):
        return os.environ.get(name, "").strip()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(ExitCode.USAGE, [f"{name}_FILE cannot be read: {error}"]) from error


def _endpoint(service: str, setting: str, default: str) -> Endpoint:
    address, tls = parse_address(setting, os.environ.get(setting, "").strip() or default)
    return Endpoint(service, setting, address, tls)
