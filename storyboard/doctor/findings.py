"""What a check found, and how checks are run: side by side, each with a time-out, none with a secret in its words."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import secret

GROUP_SECONDS = 45.0
_SECRET_NAMES = (
    "SUPABASE_SECRET_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_SERVICE_KEY",
    "SUPABASE_STAGING_KEY",
    "SUPABASE_JWT_SECRET",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GOOGLE_VERTEX_API_KEY",
    "STORYBOARD_TOKEN",
)
_SECRET_URLS = ("DATABASE_URL", "DATABASE_LISTEN_URL", "AMQP_URL", "EVENTS_AMQP_URL")
# Shorter ones would blot out plain words.
_SHORTEST_SECRET = 4


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_SET = "not set"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do; `code` is the exit code of a failure."""

    name: str
    state: State
    message: str
    action: str = ""
    code: ExitCode = ExitCode.FAILED

    @property
    def line(self) -> str:
        """The finding on one line, sentences ended by full stops."""
        sentences = [text if text.endswith((".", "?")) else f"{text}." for text in (self.message, self.action) if text]
        return f"{self.state:<8} {self.name:<26} {' '.join(sentences)}"


Check = Callable[[], Awaitable[list[Finding]]]


def ok(name: str, message: str) -> Finding:
    """All is well."""
    return Finding(name, State.OK, message)


def warning(name: str, message: str, action: str) -> Finding:
    """It works, but somebody should know."""
    return Finding(name, State.WARNING, message, action)


def failed(name: str, message: str, action: str, code: ExitCode = ExitCode.FAILED) -> Finding:
    """It does not work."""
    return Finding(name, State.FAILED, message, action, code)


def unreachable(name: str, message: str, action: str) -> Finding:
    """Nobody answers."""
    return failed(name, message, action, ExitCode.UNREACHABLE)


def not_set(name: str, message: str) -> Finding:
    """The setting is not there, so nothing is checked."""
    return Finding(name, State.NOT_SET, message)


async def run_checks(checks: Sequence[tuple[str, Check]]) -> AsyncIterator[list[Finding]]:
    """Run all at once; give what each found in their order, as soon as it and those before it have ended."""
    hidden = secrets()
    tasks = [asyncio.create_task(_run(name, check)) for name, check in checks]
    try:
        for task in tasks:
            yield [cleaned(finding, hidden) for finding in await task]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """OK where nothing failed; UNREACHABLE or USAGE where that is all that failed; else FAILED."""
    codes = {finding.code for finding in findings if finding.state is State.FAILED}
    if not codes:
        return ExitCode.OK
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED


def secrets() -> list[str]:
    """Every secret of the environment, the longest first, so that a part never leaves a rest."""
    values: set[str] = set()
    for name in (*_SECRET_NAMES, *_SECRET_URLS):
        value = _value(name)
        values.add(value)
        if name in _SECRET_URLS:
            values |= _passwords(value)
    return sorted((each for each in values if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)


def _passwords(url: str) -> set[str]:
    passwords = {match[1] for match in re.finditer(r"password\s*=\s*'?([^\s'&]+)", url)}
    try:
        parts = urlsplit(url)
    except ValueError:
        return passwords
    # One that is the user's name (postgres, guest) is no secret, and a word of many sentences.
    if parts.password and parts.password != parts.username:
        passwords.add(parts.password)
    return passwords | {unquote(each) for each in passwords}


def _value(name: str) -> str:
    try:
        return secret(name)
    except CommandError:
        return os.environ.get(name, "")


async def _run(name: str, check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(GROUP_SECONDS):
            return await check()
    except TimeoutError:
        return [unreachable(name, f"no response within {GROUP_SECONDS:g} s", "Check the network connection to it.")]
    except CommandError as error:
        return [failed(name, error.lines[0], " ".join(error.lines[1:]), error.exit_code)]
    except Exception as error:  # noqa: BLE001 - one check that stumbles must not silence the others
        return [failed(name, f"the check failed unexpectedly ({type(error).__name__})", "Report this as a bug.")]


def cleaned(finding: Finding, hidden: Sequence[str]) -> Finding:
    """The finding without any of these words."""
    return replace(finding, message=_clean(finding.message, hidden), action=_clean(finding.action, hidden))


def _clean(text: str, hidden: Sequence[str]) -> str:
    for each in hidden:
        text = text.replace(each, "***")
    return " ".join(text.split())
