"""Tokens of users for the stack that `make up` runs, signed with the secret that it made for itself."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .stack.tokens import Secrets

STATE = Path.cwd() / ".devstack" / "up"
FILE = "mint.json"
"""Lies in the folder of a stack while it runs, readable by its user alone."""


class MintError(Exception):
    """No token is made; the message says why."""


def allow(folder: Path, *, secret: str, issuer: str, ingest_address: str) -> None:
    """Let tokens be made for the stack of this folder."""
    file = folder / FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps({"secret": secret, "issuer": issuer, "ingest_address": ingest_address}))


def forbid(folder: Path) -> None:
    """Let no more tokens be made."""
    (folder / FILE).unlink(missing_ok=True)


def minted(folder: Path, subject: str, role: str, address: str) -> str:
    """A token for the stack of this folder; `address` is where the caller would use it, empty for its own.

    Raises:
        MintError: no stack runs there, or the caller talks to another one.
    """
    try:
        known = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        raise MintError(f"No system of `storyboard up` runs in {folder}; tokens are made for that one only.") from None
    own = known["ingest_address"]
    if address and address not in (own, f"https://{own}", f"http://{own}"):
        raise MintError(f"INGEST_ADDRESS is {address}, not the system of `storyboard up` at {own}: no token is made.")
    return Secrets(jwt=known["secret"]).token(subject, role, known["issuer"])


def main(*, subject: str, role: str) -> int:
    """Print a token; the exit code is 1 where none is made."""
    try:
        sys.stdout.write(minted(STATE, subject, role, os.environ.get("INGEST_ADDRESS", "").strip()) + "\n")
    except MintError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
