"""`python -m devstack.emulators.storage`: run the emulator until SIGTERM or SIGINT."""

import argparse
import json
import logging
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn

from .access import Keys
from .app import Settings, build_app
from .frontend import DroppableProtocol, write_line


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            host, port = server.sockets[0].getsockname()[:2]
            write_line("listening", host=host, port=port)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="devstack.emulators.storage", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 chooses a free port, which the first log line shows")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder for the objects")
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--staging-key", help="may only touch objects of the staging bucket")
    parser.add_argument("--anon-key", help="may only read public objects")
    parser.add_argument("--jwt-secret", help="also accept JWTs signed with it (HS256); their role decides the rights")
    parser.add_argument("--jwks-file", type=Path, help="public keys that Auth publishes; none where it is missing")
    parser.add_argument("--staging-bucket", default="artifact-staging")
    parser.add_argument("--global-file-size-limit", type=int, metavar="BYTES")
    return parser.parse_args()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # uvicorn drains first, then raises the signal it caught once more: a clean stop exits with 0. A second
    # signal while the interpreter ends would find the default handler and kill the process.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, signal.SIG_IGN)
    sys.exit(0)


def main() -> None:
    arguments = _parse_arguments()
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _stop)
    # A database that is away shows in the answers.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    keys = Keys(
        arguments.secret_key,
        arguments.staging_key,
        arguments.anon_key,
        arguments.staging_bucket,
        arguments.jwt_secret,
    )
    settings = Settings(arguments.state_dir, arguments.database_url, keys, arguments.global_file_size_limit)
    if arguments.jwks_file is not None:
        settings = replace(settings, key_set=json.loads(arguments.jwks_file.read_text()))
    config = uvicorn.Config(
        build_app(settings),
        host=arguments.host,
        port=arguments.port,
        http=DroppableProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
