"""`make demo`: a real storyboard through the whole stack, checked to the last link, shown as a gallery page."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console as Terminal
from rich.markup import escape
from rich.table import Table

from storyboard.terminal.progress import progress_display
from superstoryboard.config.env_file import EnvFileError
from superstoryboard.db.migrate import MigrationError
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.job_pb2 import Job, JobState

from ..stack.outside import Outside, OutsideError
from ..stack.pipeline import ROOT, Stack, StackOptions
from ..stack.program import StartError
from ..stack.rabbitmq import RabbitMQMissingError
from ..stack.shell import enter, with_env_option
from .check import FetchedAsset, Link, fetch_all, read_links, unexpected
from .gallery import Card, Page, render
from .plan import Plan, StoryDatabase
from .run import StoryRun

STORYBOARD = ROOT / "examples" / "demo-storyboard.json"
FOLDER = Path.cwd() / ".devstack" / "demo"
IMAGE_SECONDS, VIDEO_SECONDS = 0.8, 3.0
# Wide enough that no URL is folded where the output goes to a file.
PIPE_COLUMNS = 200
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES))


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a run left: its outcomes, and what was found when they were checked."""

    run: StoryRun
    assets: list[FetchedAsset]
    links: list[Link]
    wrong: list[str]
    """A sentence for everything that is not as it must be."""


def main(*, with_env: bool = False) -> int:
    """Run the demo. The exit code is 0 only where every asset was decoded and every link is right.

    It uses nothing outside of this machine, unless `with_env` says that the environment may name it.
    """
    terminal = Terminal(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    state_dir = Path(tempfile.mkdtemp(prefix="state-", dir=FOLDER))
    state_dir.chmod(0o755)
    try:
        outside = enter(with_env=with_env)
        gallery, wrong = asyncio.run(_demo(state_dir, terminal, outside))
    except (
        StartError,
        OutsideError,
        EnvFileError,
        RabbitMQMissingError,
        MigrationError,
        grpc.RpcError,
        OSError,
    ) as error:
        terminal.print(f"The demo failed: {error}\nLogs: {state_dir / 'logs'}", style="red", markup=False)
        return 1
    if wrong:
        terminal.print(f"Logs: {state_dir / 'logs'}", markup=False, highlight=False, soft_wrap=True)
    else:
        shutil.rmtree(state_dir)
    sys.stdout.write(f"Gallery: {gallery}\n")
    return 1 if wrong else 0


async def _demo(state_dir: Path, terminal: Terminal, outside: Outside) -> tuple[Path, list[str]]:
    began = time.monotonic()
    options = StackOptions(
        state_dir=state_dir, outside=outside, image_seconds=IMAGE_SECONDS, video_seconds=VIDEO_SECONDS
    )
    terminal.print("Starting the stack …")
    async with Stack(options) as stack:
        terminal.print(f"{_parts(stack)} Ready after {time.monotonic() - began:.1f} s.", highlight=False)
        story = await _tell(stack, terminal)
        memory = await stack.memory_bytes()
        megabytes = round(sum(memory.values()) / 1_000_000)
    gallery = FOLDER / "gallery.html"
    facts = [_broker(stack), f"{megabytes} MB of memory for {len(memory)} processes"]
    gallery.write_text(render(_page(story, facts)))
    _report(story, memory, terminal)
    return gallery, story.wrong


async def _tell(stack: Stack, terminal: Terminal) -> Story:
    plan = Plan.load(STORYBOARD)
    database = StoryDatabase(stack.database_url, stack.kv_table)
    await database.put(plan.rows())
    terminal.print(f"{plan.title}: {len(plan.items)} items for storyboard {plan.id}", highlight=False)
    metadata = (("authorization", f"Bearer {stack.service_token}"),)
    async with grpc.aio.insecure_channel(stack.ingest_address, options=CHANNEL_OPTIONS) as channel:
        run = StoryRun(plan, GenerationServiceStub(channel), metadata, database)
        await run.submit()
        with progress_display(run.names) as display:
            await run.follow(display)
    through_proxy = stack.options.outside.supabase_url is not None
    folder = stack.options.state_dir / "fetched"
    folder.mkdir()
    assets, broken = await fetch_all(run.outcomes, folder, through_proxy=through_proxy)
    links = await read_links(plan, assets, database)
    astray = [f"{link.key} has {link.field} {link.value}, not {link.url}" for link in links if not link.right]
    return Story(run=run, assets=assets, links=links, wrong=unexpected(plan, run.outcomes) + broken + astray)


def _parts(stack: Stack) -> str:
    google = "the Google emulator" if stack.google_url else "the real Google service (this costs money)"
    storage = "real Supabase Storage" if stack.options.outside.supabase_url else "the Storage emulator"
    database = "the database of DATABASE_URL" if stack.options.outside.database_url else "a private Postgres with PGMQ"
    return f"Four services on {database}, {google} and {storage}. {_broker(stack)}."


def _broker(stack: Stack) -> str:
    if stack.amqp_url is None:
        return "Without RabbitMQ: the asset_writer polls the database"
    return "RabbitMQ: the broker of AMQP_URL" if stack.options.outside.amqp_url else "RabbitMQ: a private node"


def _seconds(job: Job) -> float:
    return (job.end_time.ToMilliseconds() - job.create_time.ToMilliseconds()) / 1000


def _report(story: Story, memory: dict[str, int], terminal: Terminal) -> None:
    jobs = Table(title="Jobs", title_justify="left")
    for column in ("job", "mode", "state"):
        jobs.add_column(column)
    jobs.add_column("seconds", justify="right")
    jobs.add_column("URL", overflow="fold")
    for item in story.run.plan.items:
        outcome = story.run.outcomes.get(item.name)
        if outcome is None or outcome.job is None:
            jobs.add_row(item.name, item.mode, "refused", "", escape(outcome.error) if outcome else "")
        else:
            job = outcome.job
            state = JobState.Name(job.state).removeprefix("JOB_STATE_")
            jobs.add_row(item.name, item.mode, state, f"{_seconds(job):.1f}", job.asset.url)
    links = Table(title="Links in the key-value table", title_justify="left")
    for column in ("row", "field", "right"):
        links.add_column(column)
    for link in story.links:
        links.add_row(escape(link.key), link.field, "yes" if link.right else "NO")
    terminal.print(jobs, links, highlight=False)
    total = sum(memory.values()) / 1_000_000
    parts = ", ".join(f"{name} {size / 1_000_000:.0f}" for name, size in memory.items())
    terminal.print(f"Memory of the idle stack (PSS): {total:.0f} MB ({parts})", highlight=False)
    for sentence in story.wrong:
        terminal.print(sentence, style="red", markup=False, highlight=False)
    if not story.wrong:
        terminal.print(f"All {len(story.assets)} assets decoded, all {len(story.links)} links right.", highlight=False)


def _page(story: Story, facts: list[str]) -> Page:
    plan = story.run.plan
    cards = {asset.item.name: _card(asset) for asset in story.assets}
    made = [(item, cards[item.name]) for item in plan.items if item.name in cards]
    refused = [
        Card(name=one.item.name, mode=one.item.mode, prompt=one.item.message["prompt"], details=one.error)
        for one in story.run.outcomes.values()
        if one.error
    ]
    return Page(
        title=plan.title,
        logline=plan.logline,
        facts=[f"{len(cards)} assets from {len(plan.items)} items", *facts],
        sections=[
            ("Scenes", [card for item, card in made if item.entity[0] == "scene"]),
            ("Characters", [card for item, card in made if item.entity[0] == "character"]),
            ("Rejected", refused),
        ],
    )


def _card(asset: FetchedAsset) -> Card:
    stored = asset.job.asset
    size = f"{stored.width} × {stored.height}, {len(asset.data) / 1000:,.0f} kB"
    return Card(
        name=asset.item.name,
        mode=asset.item.mode,
        prompt=asset.item.message["prompt"],
        details=f"{asset.job.model} · {_seconds(asset.job):.1f} s · {size} · {stored.bucket}/{stored.path}",
        media_type=stored.media_type,
        data=asset.data,
    )


if __name__ == "__main__":
    sys.exit(main(with_env=with_env_option(__doc__ or "")))
