"""A newcomer starts `make up`, copies every example of the README in its order, and ends with the pictures linked."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psycopg
import pytest
from google.protobuf.json_format import Parse

from superstoryboard.v1.generation_service_pb2 import CreateImageJobResponse, ListJobsResponse
from superstoryboard.v1.job_pb2 import JobState

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
UP_SECONDS, BLOCK_SECONDS = 90.0, 180.0
RUN_UP = """
import sys
from pathlib import Path
from devstack.stack.ports import Ports
from devstack.up import run
sys.exit(run(Ports.free(), Path(sys.argv[1])))
"""


def blocks(section: str, language: str) -> list[str]:
    """The examples of one section in one language, in their order."""
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    texts = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert texts
    return texts


@dataclass(frozen=True)
class Newcomer:
    """A terminal beside `make up`: nothing is set in it but what the README says to source."""

    env_file: Path

    async def run(self, commands: str, stdin: str = "") -> str:
        """Run commands as one script that stops at the first failure; the answer is what they print."""
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"ENV_FILE": ""}
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            f"source {self.env_file}\n{commands}",
            cwd=ROOT,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(shell.communicate(stdin.encode()), BLOCK_SECONDS)
        assert shell.returncode == 0, f"{commands}\n{out.decode()}\n{err.decode()}"
        return out.decode()

    async def connect(self) -> psycopg.AsyncConnection:
        """The database of the stack, as a client of the queue reaches it."""
        url = (await self.run("echo $DATABASE_URL")).strip()
        return await psycopg.AsyncConnection.connect(url, autocommit=True)


@pytest.fixture
async def newcomer() -> AsyncIterator[Newcomer]:
    with TemporaryDirectory(prefix="up-") as name:
        up = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUN_UP, name, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert up.stdout is not None
        async with asyncio.timeout(UP_SECONDS):
            while b"Ctrl-C stops everything." not in (line := await up.stdout.readline()):
                assert line, "make up ended"
        reading = asyncio.create_task(up.stdout.read())
        yield Newcomer(Path(name) / "env")
        up.send_signal(signal.SIGINT)
        await asyncio.wait_for(reading, UP_SECONDS)
        assert await up.wait() == 0


async def read_by_sql(connection: psycopg.AsyncConnection, newcomer: Newcomer) -> list[list[tuple[object, ...]]]:
    """Run the statements of the README one by one; those that read wait until the jobs have ended."""
    [block] = blocks("SQL by example", "sql")
    statements = [each.strip() for each in re.sub(r"^--.*$", "", block, flags=re.MULTILINE).split(";")]
    answers = []
    for number, statement in enumerate(filter(None, statements)):
        if number == 2:
            await newcomer.run("storyboard watch --storyboard my-storyboard")
        cursor = await connection.execute(statement.encode())
        answers.append(await cursor.fetchall())
    return answers


@pytest.mark.timeout(400)
async def test_every_example_works_as_printed_and_the_pictures_are_linked(newcomer: Newcomer) -> None:
    [program] = blocks("API by example", "python")
    printed = (await newcomer.run("python -", program)).split()
    first_url = printed[-1]

    [calls] = blocks("API by example", "sh")
    answers = re.split(r"(?<=\n\})\n", (await newcomer.run(calls)).strip())
    created, listed = Parse(answers[0], CreateImageJobResponse()), Parse(answers[1], ListJobsResponse())
    assert created.job.image.scene_id == "scene-001"
    assert {job.state for job in listed.jobs} & {JobState.JOB_STATE_SUCCEEDED}

    async with await newcomer.connect() as connection:
        *_, states, linked = await read_by_sql(connection, newcomer)
        assert {line[1] for line in states} == {"SUCCEEDED"}
        assert len(states) == 4
        [(url,)] = linked
        assert str(url).startswith("http")

        [commands] = blocks("Command line by example", "sh")
        assert "\nok " in await newcomer.run(commands)
        jobs = await connection.execute("select state, warnings, error from superstoryboard.jobs")
        assert {(state, *warnings) for state, warnings, _ in await jobs.fetchall()} == {("SUCCEEDED",)}
        rows = await connection.execute(
            "select value ->> 'imageUrl', value ->> 'videoUrl' from kv_store_7ee7668a"
            " where key in ('scene:my-storyboard:scene-001', 'scene:my-storyboard:scene-002') order by key"
        )
        urls = [url for row in await rows.fetchall() for url in row]
    assert len(urls) == 4
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        kinds = [(await client.get(url)).raise_for_status().headers["content-type"] for url in [first_url, *urls]]
    assert kinds == ["image/png", "image/png", "video/mp4", "image/png", "video/mp4"]
