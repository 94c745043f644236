"""GenerationService: accept, read, list and watch jobs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import psycopg

from superstoryboard.domain.kinds import KINDS, kind_name
from superstoryboard.domain.priorities import Priority
from superstoryboard.domain.states import TERMINAL_STATES, state_name
from superstoryboard.jobs.events import EventLog, EventSelection, EventsPrunedError, Page
from superstoryboard.jobs.records import event_message, job_message
from superstoryboard.jobs.steering import Steering
from superstoryboard.jobs.store import Accepted, JobFilter, JobStore, Submission
from superstoryboard.jobs.storyboards import OwnerRules, Storyboards
from superstoryboard.process.checkpoints import reached
from superstoryboard.rpc.authentication import caller
from superstoryboard.rpc.errors import ApiError, invalid, not_found
from superstoryboard.rpc.limits import Shares
from superstoryboard.rpc.permissions import Right, has_right
from superstoryboard.rpc.validation import check
from superstoryboard.telemetry.logs import get_logger
from superstoryboard.telemetry.queue_metrics import QuotaMetrics
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceServicer

from .cancel_retry import CancelRetryCalls
from .pages import DEFAULT_PAGE, Cursor, Row, read_page
from .storyboards import StoryboardCalls, not_yours, source_not_yours
from .submissions import CreateRequest, Submissions

MAX_BATCH = 1000
LOOK_SECONDS = 10.0
"""How often a watch looks whether its jobs have all ended, besides at its first page and at each end of a job."""

log = get_logger("generation")

Context = grpc.aio.ServicerContext[Any, Any]


class GenerationService(CancelRetryCalls, StoryboardCalls, GenerationServiceServicer):
    """What backends call."""

    def __init__(
        self,
        store: JobStore,
        steering: Steering,
        events: EventLog,
        submissions: Submissions,
        *,
        watches_per_owner: int,
        quotas: QuotaMetrics,
        storyboards: Storyboards,
        owner_rules: OwnerRules,
    ) -> None:
        CancelRetryCalls.__init__(self, store, steering)
        StoryboardCalls.__init__(self, storyboards)
        self._owner_rules = owner_rules
        self._events = events
        self._submissions = submissions
        self._quotas = quotas
        self._watches = Shares(watches_per_owner, "watches")

    async def CreateImageJob(self, request: api.CreateImageJobRequest, context: Context) -> api.CreateImageJobResponse:
        """Accept one image job."""
        del context
        return api.CreateImageJobResponse(job=await self._create(request))

    async def CreateVideoJob(self, request: api.CreateVideoJobRequest, context: Context) -> api.CreateVideoJobResponse:
        """Accept one video job."""
        del context
        return api.CreateVideoJobResponse(job=await self._create(request))

    async def BatchCreateJobs(
        self, request: api.BatchCreateJobsRequest, context: Context
    ) -> api.BatchCreateJobsResponse:
        """Accept up to 1,000 jobs, each with a result of its own."""
        del context
        if not 1 <= len(request.items) <= MAX_BATCH:
            raise invalid([("items", f"must contain 1 to {MAX_BATCH} items, contains {len(request.items)}")])
        prepared = [self._prepare_item(item) for item in request.items]
        jobs = iter(await self._accept([item for item in prepared if isinstance(item, Submission)]))
        results = [next(jobs) if isinstance(item, Submission) else item for item in prepared]
        return api.BatchCreateJobsResponse(results=[_item_result(result) for result in results])

    async def GetJob(self, request: api.GetJobRequest, context: Context) -> api.GetJobResponse:
        """One job."""
        del context
        check(request)
        rows = await self._store.get([UUID(request.job_id)], caller().visible_owner, caller().identities)
        if not rows:
            raise not_found(f"job {request.job_id}")
        return api.GetJobResponse(job=job_message(rows[0]))

    async def ListJobs(self, request: api.ListJobsRequest, context: Context) -> api.ListJobsResponse:
        """One page of jobs, newest first."""
        del context
        check(request)
        job_filter = _filter(request)

        async def read(limit: int, before: Cursor | None) -> list[Row]:
            return await self._store.search(job_filter, limit=limit, before=before)

        size = request.page_size or DEFAULT_PAGE
        jobs, token = await read_page(read, job_message, size=size, token=request.page_token)
        return api.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def WatchJobs(self, request: api.WatchJobsRequest, context: Context) -> AsyncIterator[api.WatchJobsResponse]:
        """Events of jobs: past ones, then live ones."""
        del context
        check(request)
        job_ids = [UUID(job_id) for job_id in dict.fromkeys(request.job_ids)]
        missing = set(job_ids) - await self._store.visible(job_ids, caller().visible_owner, caller().identities)
        if missing:
            raise not_found(f"job {min(missing)}")
        with self._share():
            async for answer in self._follow(await self._selection(job_ids, request.storyboard_id), request):
                yield answer

    async def _selection(self, job_ids: list[UUID], storyboard: str) -> EventSelection:
        who = caller()
        if who.storyboard_names is None:
            return EventSelection(job_ids, storyboard, None)
        readable = await self._store.readable_storyboards(job_ids, storyboard, who.storyboard_names)
        return EventSelection(job_ids, storyboard, who.subject, frozenset(readable))

    def _share(self) -> AbstractContextManager[None]:
        """One of the watches that its owner may have open; a service watches for many."""
        who = caller()
        return nullcontext() if has_right(who, Right.WATCHES_WITHOUT_LIMIT) else self._watches.hold(who.subject)

    async def _follow(
        self, selection: EventSelection, request: api.WatchJobsRequest
    ) -> AsyncIterator[api.WatchJobsResponse]:
        looked, read_again = -math.inf, time.monotonic() + LOOK_SECONDS
        visible = selection
        async for page in _kept(self._events.follow(selection, request.after_sequence)):
            if page.rows and selection.readable and time.monotonic() >= read_again:
                # What was shared may be shared no more.
                visible = await self._selection(selection.job_ids, selection.storyboard_id)
                read_again = time.monotonic() + LOOK_SECONDS
            rows = visible.pick(page.rows)
            for row in rows:
                yield api.WatchJobsResponse(event=event_message(row))
            ends = any(row["state"] in TERMINAL_STATES for row in rows)
            if request.until_terminal and (ends or time.monotonic() - looked >= LOOK_SECONDS):
                if await self._events.is_complete(visible, page.position):
                    return
                looked = time.monotonic()

    async def _create(self, request: CreateRequest) -> job_pb2.Job:
        accepted = await self._accept([self._submissions.prepare(request, caller(), Priority.INTERACTIVE)])
        if isinstance(accepted[0], ApiError):
            raise accepted[0]
        return accepted[0]

    def _prepare_item(self, item: api.BatchItem) -> Submission | ApiError:
        which = item.WhichOneof("request")
        if which is None:
            return invalid([("request", "image or video must be set")])
        try:
            return self._submissions.prepare(getattr(item, which), caller(), Priority.BATCH)
        except ApiError as error:
            return error

    async def _accept(self, submissions: list[Submission]) -> list[job_pb2.Job | ApiError]:
        """Accept all in one transaction; where the database refuses that, one by one."""
        if not submissions:
            return []
        await self._owner_rules.tell()
        try:
            accepted = await self._store.accept(submissions)
            await reached("accepted-job")
        except psycopg.DataError:
            if len(submissions) == 1:
                log.exception("The database rejected a job")
                return [ApiError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "the database rejected the job")]
            return [result for item in submissions for result in await self._accept([item])]
        self._count_refusals(submissions, accepted)
        return [_answer(item, submission) for item, submission in zip(accepted, submissions, strict=True)]

    def _count_refusals(self, submissions: list[Submission], accepted: list[Accepted]) -> None:
        refused = Counter(
            (item.owner, item.kind, answer.refusal.quota)
            for item, answer in zip(submissions, accepted, strict=True)
            if answer.refusal is not None
        )
        for (owner, kind, quota), count in refused.items():
            self._quotas.refused(kind, quota, count)
            log.info("A quota refused jobs", owner=owner, kind=kind, quota=quota, jobs=count)


async def _kept(pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    try:
        async for page in pages:
            yield page
    except EventsPrunedError as error:
        raise ApiError(
            grpc.StatusCode.OUT_OF_RANGE,
            "EVENTS_PRUNED",
            f"{error}: read the jobs, then watch with after_sequence {error.oldest}, or 0 for all events that are kept",
            violations=[("after_sequence", f"must be 0 or at least {error.oldest}")],
        ) from error


def _answer(accepted: Accepted, submission: Submission) -> job_pb2.Job | ApiError:
    if accepted.outcome == "NOT_YOURS":
        return not_yours(submission.generation["storyboardId"])
    if accepted.outcome == "SOURCE_NOT_YOURS":
        return source_not_yours(KINDS[submission.kind].field)
    if accepted.refusal is not None:
        return ApiError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "QUOTA_EXCEEDED",
            accepted.refusal.message,
            retry_after_seconds=accepted.refusal.retry_seconds,
        )
    if accepted.outcome == "conflict":
        return ApiError(
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            "request_id was used before with a different payload",
            violations=[("request_id", "was used before with a different payload")],
        )
    return job_message(accepted.record)


def _item_result(result: job_pb2.Job | ApiError) -> api.BatchItemResult:
    if isinstance(result, ApiError):
        return api.BatchItemResult(error=result.to_status())
    return api.BatchItemResult(job=result)


def _filter(request: api.ListJobsRequest) -> JobFilter:
    return JobFilter(
        owner=caller().visible_owner,
        names=caller().identities,
        storyboard_id=request.storyboard_id,
        scene_id=request.scene_id,
        character_id=request.character_id,
        states=tuple(state_name(state) for state in request.states),
        kind=kind_name(request.kind),
        created_from=_time(request, "created_from"),
        created_before=_time(request, "created_before"),
    )


def _time(request: api.ListJobsRequest, field: str) -> datetime | None:
    return getattr(request, field).ToDatetime(UTC) if request.HasField(field) else None
