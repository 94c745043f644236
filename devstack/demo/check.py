"""Checks what the story made: every asset is fetched from its public URL and decoded, every link is read back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from superstoryboard.domain.kinds import KINDS
from superstoryboard.media import MediaError
from superstoryboard.media.verify import verify
from superstoryboard.v1.job_pb2 import Job, JobState

from .plan import Item, Plan, StoryDatabase
from .run import Outcome

FETCH_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class FetchedAsset:
    """A stored asset as the public gets it."""

    item: Item
    job: Job
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Link:
    """A place that must name an asset, and whether it does."""

    key: str
    field: str
    url: str
    value: str | None

    @property
    def right(self) -> bool:
        """Whether the place names this very asset."""
        return self.value == self.url


def unexpected(plan: Plan, outcomes: dict[str, Outcome]) -> list[str]:
    """A sentence for each item that did not end as the story wants it."""
    sentences = []
    for item in plan.items:
        outcome = outcomes.get(item.name)
        if outcome is None:
            sentences.append(f"{item.name}: not sent, because {item.after} has no image")
        elif item.refused and not outcome.error:
            sentences.append(f"{item.name}: was accepted, but should have been rejected")
        elif not item.refused and outcome.job is None:
            sentences.append(f"{item.name}: refused: {outcome.error}")
        elif outcome.job is not None and outcome.job.state != JobState.JOB_STATE_SUCCEEDED:
            state = JobState.Name(outcome.job.state).removeprefix("JOB_STATE_")
            sentences.append(f"{item.name}: {state}: {outcome.job.error.message}")
    return sentences


async def fetch_all(
    outcomes: dict[str, Outcome], folder: Path, *, through_proxy: bool
) -> tuple[list[FetchedAsset], list[str]]:
    """Fetch and decode every stored asset; the sentences say what is wrong with one.

    `through_proxy` follows the proxy settings of the environment, which are never meant for loopback.
    """
    assets, wrong = [], []
    async with httpx.AsyncClient(timeout=FETCH_SECONDS, trust_env=through_proxy) as client:
        for outcome in outcomes.values():
            if outcome.job is None or outcome.job.state != JobState.JOB_STATE_SUCCEEDED:
                continue
            try:
                assets.append(await _fetch(client, outcome.item, outcome.job, folder))
            except (httpx.HTTPError, MediaError) as error:
                wrong.append(f"{outcome.item.name}: {error}")
    return assets, wrong


async def read_links(plan: Plan, assets: list[FetchedAsset], database: StoryDatabase) -> list[Link]:
    """Where each asset must be linked: the entity's own row, and its item in the storyboard's array."""
    rows = await database.get(list(plan.rows()))
    board_key = f"storyboard:{plan.id}"
    board = rows.get(board_key, {})
    links = []
    for asset in assets:
        kind, entity_id = asset.item.entity
        key = plan.row_key(kind, entity_id)
        field = f"{KINDS[asset.item.kind].link}Url"
        url = asset.job.asset.url
        links.append(Link(key=key, field=field, url=url, value=rows.get(key, {}).get(field)))
        members: list[dict[str, Any]] = board.get(f"{kind}s", [])
        member = next((one for one in members if one["id"] == entity_id), {})
        links.append(Link(key=f"{board_key} {kind}s[{entity_id}]", field=field, url=url, value=member.get(field)))
    return links


async def _fetch(client: httpx.AsyncClient, item: Item, job: Job, folder: Path) -> FetchedAsset:
    answer = (await client.get(job.asset.url)).raise_for_status()
    path = folder / job.id
    await asyncio.to_thread(path.write_bytes, answer.content)
    facts = await verify(path)
    stated = (job.asset.media_type, job.asset.sha256, job.asset.width, job.asset.height)
    if stated != (facts.media_type, facts.sha256, facts.width, facts.height):
        raise MediaError(f"the stored object is not the one of the job: {facts}")
    if answer.headers["content-type"] != facts.media_type:
        raise MediaError(f"it is served as {answer.headers['content-type']}, but is {facts.media_type}")
    return FetchedAsset(item=item, job=job, data=answer.content)
