"""Ingest as a real process over real gRPC: contracts, bad input, idempotency, ownership (C1, C2, G3, G7; I5, I10)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import jwt
import psycopg
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from superstoryboard.domain.kinds import KINDS
from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2, queue_service_pb2, queue_service_pb2_grpc
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from tests.integration.ingest_calls import image, reason, refused, video, violations
from tests.running import ALICE, BOB, SERVICE, Metadata, bearer, token


def test_an_image_job_is_accepted_with_everything_frozen(generation: GenerationServiceStub) -> None:
    request = api.CreateImageJobRequest(image=image(), labels={"team": "story"})
    job = generation.CreateImageJob(request, metadata=ALICE).job
    assert (job.state, job.attempt, job.max_attempts) == (job_pb2.JOB_STATE_QUEUED, 0, 3)
    assert (job.queue, job.provider, dict(job.labels)) == ("image_generation_queue", "google", {"team": "story"})
    assert (job.image.aspect_ratio, job.image.model) == ("16:9", job.model)
    assert job.msg_id > 0
    assert generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=ALICE).job == job


def test_a_video_job_gets_its_defaults(generation: GenerationServiceStub) -> None:
    job = generation.CreateVideoJob(api.CreateVideoJobRequest(video=video()), metadata=ALICE).job
    assert (job.video.aspect_ratio, job.video.duration_seconds, job.video.resolution) == ("16:9", "8", "720p")


def test_the_same_request_id_gives_the_same_job_also_a_hundred_times_at_once(
    generation: GenerationServiceStub, rows: Callable[[], tuple[int, int]]
) -> None:
    before = rows()
    request = api.CreateImageJobRequest(image=image(), request_id="hundred")
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(lambda _: generation.CreateImageJob(request, metadata=ALICE).job.id, range(100)))
    assert len(set(jobs)) == 1
    assert rows() == (before[0] + 1, before[1] + 1)


def test_the_same_request_id_with_another_payload_is_refused(generation: GenerationServiceStub) -> None:
    generation.CreateImageJob(api.CreateImageJobRequest(image=image(), request_id="once"), metadata=ALICE)
    changed = api.CreateImageJobRequest(image=image(prompt="a hare"), request_id="once")
    labelled = api.CreateImageJobRequest(image=image(), request_id="once", labels={"a": "b"})
    for request in (changed, labelled):
        error = refused(partial(generation.CreateImageJob, request, metadata=ALICE))
        assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert generation.CreateImageJob(changed, metadata=BOB).job.id, "another caller's ids are his own"


def test_a_batch_answers_item_by_item(generation: GenerationServiceStub) -> None:
    items = [
        api.BatchItem(image=api.CreateImageJobRequest(image=image(), request_id="b-1")),
        api.BatchItem(video=api.CreateVideoJobRequest(video=video(resolution="8k"))),
        api.BatchItem(),
        api.BatchItem(video=api.CreateVideoJobRequest(video=video())),
        api.BatchItem(image=api.CreateImageJobRequest(image=image(), request_id="b-1")),
        api.BatchItem(image=api.CreateImageJobRequest(image=image(prompt="x"), request_id="b-1")),
    ]
    results = generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=items), metadata=ALICE).results
    kinds = [result.WhichOneof("result") for result in results]
    assert kinds == ["job", "error", "error", "job", "job", "error"]
    assert results[0].job.id == results[4].job.id
    assert "video.resolution" in results[1].error.message
    assert results[5].error.code == grpc.StatusCode.ALREADY_EXISTS.value[0]


REFUSES = """
create function refuse() returns trigger language plpgsql as $$
begin raise exception using errcode = 'data_exception', message = 'this installation was changed by hand'; end $$;
create trigger refuse before insert on superstoryboard.jobs for each row
when (new.generation ->> 'sceneId' = 'refused') execute function refuse()
"""


def test_a_job_that_the_database_refuses_spoils_no_other_of_its_batch(
    generation: GenerationServiceStub, rows: Callable[[], tuple[int, int]], module_database_url: str
) -> None:
    scenes = ("scene-1", "refused", "scene-2")
    items = [api.BatchItem(image=api.CreateImageJobRequest(image=image(scene_id=scene))) for scene in scenes]
    before = rows()
    with psycopg.connect(module_database_url, autocommit=True) as sql:
        sql.execute(REFUSES)
        results = generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=items), metadata=ALICE).results
        alone = refused(partial(generation.CreateImageJob, items[1].image, metadata=ALICE))
        sql.execute("drop function refuse cascade")
    assert [result.WhichOneof("result") for result in results] == ["job", "error", "job"]
    assert [result.job.image.scene_id for result in (results[0], results[2])] == ["scene-1", "scene-2"]
    assert results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (alone.code(), alone.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "the database rejected the job")
    assert rows() == (before[0] + 2, before[1] + 2)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_batch_of_a_wrong_size_is_refused_whole(
    generation: GenerationServiceStub, rows: Callable[[], tuple[int, int]], size: int
) -> None:
    before = rows()
    item = api.BatchItem(image=api.CreateImageJobRequest(image=image()))
    error = refused(lambda: generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=[item] * size), metadata=ALICE))
    assert list(violations(error)) == ["items"]
    assert rows() == before


def test_a_batch_of_a_thousand_is_accepted(generation: GenerationServiceStub) -> None:
    item = api.BatchItem(image=api.CreateImageJobRequest(image=image()))
    results = generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=[item] * 1000), metadata=ALICE).results
    assert len({result.job.id for result in results}) == 1000


def test_jobs_of_others_do_not_exist(generation: GenerationServiceStub) -> None:
    job = generation.CreateImageJob(api.CreateImageJobRequest(image=image()), metadata=ALICE).job
    for call in (
        lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=BOB),
        lambda: next(iter(generation.WatchJobs(api.WatchJobsRequest(job_ids=[job.id]), metadata=BOB, timeout=60))),
    ):
        assert refused(call).code() is grpc.StatusCode.NOT_FOUND
    assert job.id not in {each.id for each in generation.ListJobs(api.ListJobsRequest(), metadata=BOB).jobs}
    assert generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=SERVICE).job.id == job.id


def test_lists_filter_and_page(generation: GenerationServiceStub) -> None:
    ids = [
        generation.CreateImageJob(
            api.CreateImageJobRequest(image=image(storyboard_id="paged", scene_id=f"s{number}")), metadata=ALICE
        ).job.id
        for number in range(5)
    ]
    request = api.ListJobsRequest(storyboard_id="paged", page_size=2)
    pages: list[list[str]] = []
    while True:
        answer = generation.ListJobs(request, metadata=ALICE)
        pages.append([job.id for job in answer.jobs])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    one = api.ListJobsRequest(
        storyboard_id="paged", scene_id="s3", kind=job_pb2.JOB_KIND_IMAGE, states=["JOB_STATE_QUEUED"]
    )
    assert [job.id for job in generation.ListJobs(one, metadata=ALICE).jobs] == [ids[3]]
    one.kind = job_pb2.JOB_KIND_VIDEO
    assert not generation.ListJobs(one, metadata=ALICE).jobs
    error = refused(lambda: generation.ListJobs(api.ListJobsRequest(page_token="nonsense"), metadata=ALICE))
    assert list(violations(error)) == ["page_token"]


def test_a_watch_replays_and_ends_when_all_are_terminal(
    generation: GenerationServiceStub, module_database_url: str
) -> None:
    job = generation.CreateImageJob(api.CreateImageJobRequest(image=image(storyboard_id="watched")), metadata=ALICE).job
    stream = iter(
        generation.WatchJobs(api.WatchJobsRequest(job_ids=[job.id], until_terminal=True), metadata=ALICE, timeout=60)
    )
    assert next(stream).event.state == job_pb2.JOB_STATE_QUEUED
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("select pgmq.archive('image_generation_queue', %s::bigint)", (job.msg_id,))
        connection.execute("select superstoryboard.sweep()")
    events = [answer.event for answer in stream]
    assert [event.state for event in events] == [job_pb2.JOB_STATE_CANCELLED]
    request = api.WatchJobsRequest(storyboard_id="watched", until_terminal=True, after_sequence=events[0].sequence - 1)
    again = [answer.event.sequence for answer in generation.WatchJobs(request, metadata=ALICE, timeout=60)]
    assert again == [events[0].sequence]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Basic abc"),),
        bearer("not.a.token"),
        bearer(token(exp=1)),
        bearer(token(exp=None)),
        bearer(token(aud="someone")),
        bearer(token(role="anon")),
        bearer(token(role=None)),
        bearer(token(subject="")),
        bearer(token(subject="sql")),
        bearer(jwt.encode({"sub": "a", "role": "service_role", "aud": "authenticated", "exp": 9e9}, "x" * 40)),
        bearer(
            jwt.encode({"sub": "a", "role": "service_role", "aud": "authenticated", "exp": 9e9}, "", algorithm="none")
        ),
    ],
)
def test_calls_without_a_good_token_are_refused(generation: GenerationServiceStub, metadata: Metadata) -> None:
    error = refused(lambda: generation.ListJobs(api.ListJobsRequest(), metadata=metadata))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_watch_that_resumes_before_deleted_events_is_told_where_to_go_on(
    generation: GenerationServiceStub, module_database_url: str
) -> None:
    image = job_pb2.ImageGeneration(storyboard_id="pruned", prompt="p")
    create = api.CreateImageJobRequest(image=image)
    _, job, _ = (generation.CreateImageJob(create, metadata=ALICE).job for _ in range(3))
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        deleted = connection.execute(
            "delete from superstoryboard.job_events where job_id = %s returning sequence", (job.id,)
        )
        record = deleted.fetchone()
    assert record is not None

    def watch(after: int) -> Any:
        request = api.WatchJobsRequest(storyboard_id="pruned", after_sequence=after)
        return next(iter(generation.WatchJobs(request, metadata=ALICE, timeout=60)))

    error = refused(lambda: watch(record[0] - 1))
    assert error.code() is grpc.StatusCode.OUT_OF_RANGE
    assert f"after_sequence {record[0]}" in (error.details() or "")
    assert watch(record[0]).event.sequence == record[0] + 1
    assert watch(0).event.sequence < record[0], "0 means from the oldest that is kept"


def test_queue_calls_want_the_service_role(channel: grpc.Channel) -> None:
    queues = queue_service_pb2_grpc.QueueServiceStub(channel)
    error = refused(lambda: queues.ListQueues(queue_service_pb2.ListQueuesRequest(), metadata=ALICE))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    listed = queues.ListQueues(queue_service_pb2.ListQueuesRequest(), metadata=SERVICE).queues
    assert [queue.name for queue in listed] == sorted({kind.queue for kind in KINDS.values()})
    duties = queues.Sweep(queue_service_pb2.SweepRequest(), metadata=SERVICE).duties
    assert [duty.name for duty in duties] == [
        "cancel_removed",
        "adopt_messages",
        "recover_leases",
        "bury_overdue",
        "bury_staged",
        "discard_uploads",
        "discard_cancelled",
        "delete_events",
        "discard_dead_letters",
        "delete_jobs",
        "delete_archives",
        "delete_quota_uses",
        "delete_tokens",
        "delete_lapsed_owners",
    ]


def test_a_call_that_no_service_has_says_so(channel: grpc.Channel) -> None:
    missing = channel.unary_unary("/superstoryboard.v1.GenerationService/PaintJob", bytes, bytes)
    assert refused(lambda: missing(b"", metadata=ALICE)).code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=60)))
    names = {service.name for service in answer.list_services_response.service}
    assert {"superstoryboard.v1.GenerationService", "superstoryboard.v1.QueueService", "grpc.health.v1.Health"} <= names
