"""Sends the story's messages and follows its jobs until all of them are terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storyboard.terminal.follow import Display
from superstoryboard.v1 import generation_service_pb2 as generation
from superstoryboard.v1.job_pb2 import Job, JobState

from .plan import Item, Plan, StoryDatabase

if TYPE_CHECKING:
    from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceAsyncStub

CALL_SECONDS = 30.0
STORY_SECONDS = 1800.0
TERMINAL = frozenset(
    {
        JobState.JOB_STATE_SUCCEEDED,
        JobState.JOB_STATE_FAILED,
        JobState.JOB_STATE_DEAD_LETTERED,
        JobState.JOB_STATE_CANCELLED,
    }
)
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Outcome:
    """What became of an item: a job, or the error with which it was turned away."""

    item: Item
    job: Job | None = None
    error: str = ""


@dataclass
class StoryRun:
    """One run of the story through a stack."""

    plan: Plan
    stub: GenerationServiceAsyncStub
    metadata: Metadata
    database: StoryDatabase
    names: dict[str, str] = field(default_factory=dict)
    """Names of jobs by their ids; the display reads them."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _sent_by_sql: dict[int, Item] = field(default_factory=dict)

    async def submit(self) -> None:
        """Send everything that needs no other item first: one batch, and the messages that come by SQL."""
        first = [item for item in self.plan.items if item.after is None and not item.by_sql]
        await self._batch([(item, "") for item in first])
        for item in self.plan.items:
            if item.by_sql:
                self._sent_by_sql[await self.database.send(item.kind, item.message)] = item

    async def follow(self, display: Display) -> None:
        """Watch until every job is terminal; send an item as soon as the picture that it starts from is stored."""
        call = self.stub.WatchJobs(
            generation.WatchJobsRequest(storyboard_id=self.plan.id), metadata=self.metadata, timeout=STORY_SECONDS
        )
        async for response in call:
            event = response.event
            if event.job_id not in self.names:
                await self._adopt(event.job_id)
            display.show(event)
            if event.state in TERMINAL:
                await self._ended(event.job_id)
                if self._all_ended():
                    call.cancel()
                    return

    async def _batch(self, pairs: list[tuple[Item, str]]) -> None:
        request = generation.BatchCreateJobsRequest(items=[item.request(source) for item, source in pairs])
        answer = await self.stub.BatchCreateJobs(request, metadata=self.metadata, timeout=CALL_SECONDS)
        for (item, _), result in zip(pairs, answer.results, strict=True):
            if result.HasField("error"):
                self.outcomes[item.name] = Outcome(item, error=result.error.message)
            else:
                self._remember(item, result.job)

    async def _adopt(self, job_id: str) -> None:
        """A job that we did not ask for by a call: it came from our SQL message."""
        job = await self._get(job_id)
        item = self._sent_by_sql.get(job.msg_id)
        if item is not None and item.message["prompt"] == job.image.prompt:
            self._remember(item, job)

    async def _ended(self, job_id: str) -> None:
        name = self.names.get(job_id)
        if name is None:
            return
        job = await self._get(job_id)
        self.outcomes[name].job = job
        if job.state == JobState.JOB_STATE_SUCCEEDED:
            await self._send_followers(name, job.asset.url)

    async def _send_followers(self, name: str, url: str) -> None:
        followers = [(item, url) for item in self.plan.items if item.after == name and item.name not in self.outcomes]
        if followers:
            await self._batch(followers)

    def _all_ended(self) -> bool:
        return all(self._has_ended(item) for item in self.plan.items)

    def _has_ended(self, item: Item) -> bool:
        outcome = self.outcomes.get(item.name)
        if outcome is not None:
            return outcome.job is None or outcome.job.state in TERMINAL
        if item.after is None:
            return False
        # What an item starts from may have failed: then it is never sent.
        source = self.outcomes.get(item.after)
        return source is not None and self._has_ended(source.item)

    def _remember(self, item: Item, job: Job) -> None:
        self.names[job.id] = item.name
        self.outcomes[item.name] = Outcome(item, job)

    async def _get(self, job_id: str) -> Job:
        request = generation.GetJobRequest(job_id=job_id)
        answer = await self.stub.GetJob(request, metadata=self.metadata, timeout=CALL_SECONDS)
        return answer.job
