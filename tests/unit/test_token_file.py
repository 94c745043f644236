"""The file of service tokens: read when it changes, refused where a line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from superstoryboard.domain.service_tokens import TokensUnreadableError, fingerprint
from superstoryboard.rpc.authentication import Authenticator
from superstoryboard.rpc.service_tokens import ServiceTokenVerifier
from superstoryboard.rpc.token_file import parse_tokens
from superstoryboard.rpc.tokens import Role, Sees
from tests.unit.service_token_steps import SECRETS, TOKENS, Memory, admit, copy_of, refused


async def test_tokens_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(
        f"# who\n\nsweep service_role {fingerprint(SECRETS['shop'])}\nbox worker {fingerprint(SECRETS['old'])} a,b\n"
    )
    table = Memory()
    table.away = True
    copy = copy_of(table, file=file)
    who = Authenticator([ServiceTokenVerifier(copy)], None, copy)
    await who.prepare()
    assert admit(who, SECRETS["shop"]).subject == "sweep"  # without a database
    queues = "/superstoryboard.v1.QueueService/ListQueues"
    box = admit(who, SECRETS["old"], method=queues)
    assert (box.role, box.sees, box.queues) == (Role.WORKER, Sees.OWN_QUEUES, ("a", "b"))
    table.away = False
    file.write_text("no tokens\n")
    await copy.refresh()
    assert admit(who, SECRETS["shop"]).subject == "sweep"  # what cannot be read changes nothing
    file.write_text("")
    await copy.refresh()
    with refused("TOKEN_UNKNOWN"):
        admit(who, SECRETS["shop"])


async def test_a_token_that_the_table_revoked_is_not_let_in_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"gone service_role {fingerprint(SECRETS['gone'])}\n")
    copy = copy_of(Memory(*TOKENS), file=file)
    await copy.prepare()
    with refused("TOKEN_REVOKED"):
        copy.find(fingerprint(SECRETS["gone"]))


GOOD = f"sweep service_role {'0' * 64}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweep service_role", "line 1"),
        (f"{GOOD}\n{GOOD}", "line 2 repeats a name"),
        (f"Sweep service_role {'0' * 64}", "line 1"),
        (f"sql service_role {'0' * 64}", "line 1"),
        (f"sweep authenticated {'0' * 64}", "line 1"),
        (f"sweep service_role {SECRETS['backend']}", "line 1"),
        (f"sweep service_role {'0' * 64} images", "line 1"),
        (f"box worker {'0' * 64}", "line 1"),
        (f"{GOOD} a b", "line 1"),
    ],
    ids=["short", "twice", "upper", "reserved", "user", "token", "queues", "no queues", "long"],
)
def test_wrong_lines_of_a_file_are_named(text: str, words: str) -> None:
    with pytest.raises(TokensUnreadableError, match=words) as caught:
        parse_tokens(text)
    assert SECRETS["backend"] not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff", b"x" * 70_000, b"sweep\n", None], ids=["bytes", "huge", "line", "none"])
async def test_a_process_does_not_start_with_a_wrong_file(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OSError, match="SERVICE_TOKENS_FILE"):
        await copy_of(Memory(), file=file).prepare()
