"""What `make up` and `make demo` take from the environment of whoever starts them: nothing, unless they are told to."""

from __future__ import annotations

import argparse
import os

from superstoryboard.config.env_file import VARIABLE, load_env_file

from .outside import Outside
from .program import INHERITED

KEPT = {*INHERITED, "NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "HOME", "USER", "LOGNAME", "SHELL", "TERM"}
KEPT |= {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV", "XDG_RUNTIME_DIR"}
WITH_ENV = "Use the systems that the environment and .env configure, instead of emulators."
TLS = "Let the services speak mutual TLS, with certificates of an own authority."


def enter(*, with_env: bool) -> Outside:
    """Leave the environment behind, and return the real systems that it names: none without `with_env`.

    What stays says how programs run here. Variables of libpq go in any case: PGHOSTADDR goes before the host that an
    address names, so that a connection to our own Postgres would end at another one.

    Raises:
        OutsideError: what it names does not go together.
        EnvFileError: the file .env cannot be used.
    """
    if with_env:
        load_env_file()
        outside = Outside.read()
    else:
        outside = Outside()
    for name in set(os.environ) - KEPT:
        del os.environ[name]
    os.environ[VARIABLE] = ""
    return outside


def with_env_option(description: str) -> bool:
    """Whether the command line of this process says --with-env."""
    return bool(_parser("demo", description).parse_args().with_env)


def up_options(description: str) -> argparse.Namespace:
    """What the command line of `make up` says: `with_env` and `tls`."""
    parser = _parser("up", description)
    parser.add_argument("--tls", action="store_true", help=TLS)
    return parser.parse_args()


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    # By itself it would name the file, which may be __main__.py.
    package = __name__.removesuffix(".stack.shell")
    parser = argparse.ArgumentParser(prog=f"python -m {package}.{name}", description=description)
    parser.add_argument("--with-env", action="store_true", help=WITH_ENV)
    return parser
