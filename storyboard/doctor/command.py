"""The command `doctor`: runs the checks, prints a line for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from storyboard.api.errors import CommandError
from storyboard.doctor.api import check_ingest, check_jwt_secret, check_workers
from storyboard.doctor.broker import check_broker
from storyboard.doctor.database import check_database
from storyboard.doctor.findings import Check, Finding, State, cleaned, exit_code, failed, run_checks, secrets
from storyboard.doctor.google import check_google, load_catalogue
from storyboard.doctor.listing import check_listing
from storyboard.doctor.spend import NAME, make_image, plan
from storyboard.doctor.storage import check_storage
from storyboard.doctor.token_keys import check_token_keys
from storyboard.terminal.output import print_json, print_line, say

CHECKS: Sequence[tuple[str, Check]] = (
    ("database", check_database),
    ("broker", check_broker),
    ("storage", check_storage),
    ("google key", check_google),
    ("ingest", check_ingest),
    ("workers", check_workers),
    ("token keys", check_token_keys),
    ("jwt secret", check_jwt_secret),
)


def examine(*, spend: bool, agreed: bool, as_json: bool) -> None:
    """Check everything that is set, then perhaps make an image.

    Raises:
        typer.Exit: something failed.
    """
    with _quiet_libraries():
        findings = asyncio.run(_check(as_json=as_json))
        if spend:
            findings += _listing(as_json=as_json)
            findings += _spend(findings, agreed=agreed, as_json=as_json)
    if as_json:
        print_json({"ok": not exit_code(findings), "checks": [_json(each) for each in findings]})
    code = exit_code(findings)
    if code:
        raise typer.Exit(code)


async def _check(*, as_json: bool) -> list[Finding]:
    findings: list[Finding] = []
    async for some in run_checks(CHECKS):
        findings += some
        if not as_json:
            _print(some)
    return findings


def _listing(*, as_json: bool) -> list[Finding]:
    try:
        findings = [cleaned(each, secrets()) for each in asyncio.run(check_listing())]
    except CommandError:
        return []  # the catalogue was found wrong before
    if not as_json:
        _print(findings)
    return findings


def _spend(findings: list[Finding], *, agreed: bool, as_json: bool) -> list[Finding]:
    try:
        bought = _buy(findings, agreed=agreed)
    except CommandError as error:
        bought = failed(NAME, error.lines[0], " ".join(error.lines[1:]), error.exit_code)
    if bought is None:
        say("No image was generated, and nothing was charged.")
        return []
    bought = cleaned(bought, secrets())
    if not as_json:
        _print([bought])
    return [bought]


def _buy(findings: list[Finding], *, agreed: bool) -> Finding | None:
    """What came of it; None where nobody agreed."""
    planned = plan(findings, load_catalogue())
    if isinstance(planned, Finding):
        return planned
    if agreed:
        say(planned.question.replace("?", ": agreed by --yes."))
    elif not typer.confirm(planned.question, err=True):
        return None
    return make_image(planned)


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print_line(finding.line)


def _json(finding: Finding) -> dict[str, Any]:
    record = {"name": finding.name, "state": finding.state.value, "message": finding.message}
    return record | ({"action": finding.action} if finding.state in (State.WARNING, State.FAILED) else {})


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Without a handler Python prints warnings of libraries, and theirs may hold addresses."""
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(silence)
