"""A file of service tokens, for what must call before anyone can make a token: a line for each, its hash and no token.

A line is NAME ROLE SHA256, and for an outside worker its queues, with commas between them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from superstoryboard.domain.service_tokens import NAME, ROLES, SHA256, ServiceToken, TokensUnreadableError

MAX_FILE_BYTES = 64 * 1024


class TokenFile:
    """Tokens that an operator wrote down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> list[ServiceToken]:
        """The tokens of the file as it is now.

        Raises:
            TokensUnreadableError: it cannot be read, or a line is wrong; the message names the line, never its content.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[ServiceToken]:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            text = content.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise TokensUnreadableError(f"cannot be read ({type(error).__name__})") from None
        if len(content) > MAX_FILE_BYTES:
            raise TokensUnreadableError(f"must be at most {MAX_FILE_BYTES} bytes")
        return parse_tokens(text)


def parse_tokens(text: str) -> list[ServiceToken]:
    """The tokens of a file's text; empty lines and those that begin with # are left out.

    Raises:
        TokensUnreadableError: a line is wrong.
    """
    tokens: dict[str, ServiceToken] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        token = _token(words)
        if token is None:
            raise TokensUnreadableError(
                f"line {number} must be NAME ROLE SHA256, role service_role or worker, for a worker also its queues"
            )
        if token.name in tokens:
            raise TokensUnreadableError(f"line {number} repeats a name")
        tokens[token.name] = token
    return list(tokens.values())


def _token(words: list[str]) -> ServiceToken | None:
    if not 3 <= len(words) <= 4:
        return None
    name, role, sha256 = words[:3]
    queues = tuple(words[3].split(",")) if len(words) == 4 else ()
    good = NAME.fullmatch(name) and SHA256.fullmatch(sha256) and role in ROLES and (role == "worker") == bool(queues)
    if not good or name in ("sql", "local"):
        return None
    return ServiceToken(sha256, name, role, queues=queues)
