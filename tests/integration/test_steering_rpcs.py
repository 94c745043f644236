"""Steering over real gRPC against a real ingest: who may, what is refused and how it is said (G4, G5, G7; I10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import job_pb2
from superstoryboard.v1 import queue_service_pb2 as queue_api
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from tests.integration.ingest_calls import image, reason, refused, video, violations
from tests.running import ALICE, BOB, SERVICE

ERROR = '{"class": "TRANSIENT", "code": "INTERNAL", "message": "it broke"}'


@pytest.fixture(scope="module")
def sql(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def queues(channel: grpc.Channel) -> QueueServiceStub:
    return QueueServiceStub(channel)


@pytest.fixture
def make(generation: GenerationServiceStub) -> Callable[[str], str]:
    """A new job of Alice, by kind; answers its id."""

    def create(kind: str) -> str:
        if kind == "image":
            return generation.CreateImageJob(api.CreateImageJobRequest(image=image()), metadata=ALICE).job.id
        return generation.CreateVideoJob(api.CreateVideoJobRequest(video=video()), metadata=ALICE).job.id

    return create


@pytest.fixture
def bury(sql: psycopg.Connection, make: Callable[[str], str]) -> Callable[..., str]:
    """A dead letter of Alice, also with a call whose outcome nobody knows."""

    def create(kind: str = "image", *, unknown: bool = False) -> str:
        job_id = make(kind)
        sql.execute("update superstoryboard.jobs set state = 'RUNNING', claim = 1 where id = %s", (job_id,))
        sql.execute("select superstoryboard.fail_job_v1(%s, 1, 'DEAD_LETTERED', %s)", (job_id, ERROR))
        if unknown:
            sql.execute(
                "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model, state)"
                " values (%s, 1, 'f', 'r', %s, 'm', 'UNKNOWN')",
                (job_id, "OPERATION" if kind == "video" else "ANSWER"),
            )
        return job_id

    return create


def cancel(job_id: str) -> api.CancelJobRequest:
    return api.CancelJobRequest(job_id=job_id)


def precondition(error: grpc.RpcError) -> str:
    """The reason of a FAILED_PRECONDITION."""
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    return reason(error)


def test_a_caller_cancels_a_job_and_starts_it_again(
    generation: GenerationServiceStub, make: Callable[[str], str]
) -> None:
    job_id = make("image")
    for _ in range(2):
        assert generation.CancelJob(cancel(job_id), metadata=ALICE).job.state == job_pb2.JOB_STATE_CANCELLED
    job = generation.RetryJob(api.RetryJobRequest(job_id=job_id), metadata=ALICE).job
    assert (job.state, job.attempt, job.HasField("end_time")) == (job_pb2.JOB_STATE_QUEUED, 0, False)
    error = refused(lambda: generation.RetryJob(api.RetryJobRequest(job_id=job_id), metadata=ALICE))
    assert precondition(error) == "JOB_STATE"


def test_jobs_of_others_cannot_be_steered(generation: GenerationServiceStub, make: Callable[[str], str]) -> None:
    job_id = make("image")
    for call in (
        lambda: generation.CancelJob(cancel(job_id), metadata=BOB),
        lambda: generation.RetryJob(api.RetryJobRequest(job_id=job_id), metadata=BOB),
        lambda: generation.CancelJob(cancel(str(uuid4())), metadata=SERVICE),
    ):
        assert refused(call).code() is grpc.StatusCode.NOT_FOUND
    assert generation.GetJob(api.GetJobRequest(job_id=job_id), metadata=ALICE).job.state == job_pb2.JOB_STATE_QUEUED
    assert list(violations(refused(lambda: generation.CancelJob(cancel("x"), metadata=ALICE)))) == ["job_id"]
    assert generation.CancelJob(cancel(job_id), metadata=SERVICE).job.state == job_pb2.JOB_STATE_CANCELLED


def test_what_has_ended_cannot_be_cancelled(generation: GenerationServiceStub, bury: Callable[..., str]) -> None:
    error = refused(lambda: generation.CancelJob(cancel(bury()), metadata=ALICE))
    assert precondition(error) == "JOB_STATE"
    assert "DEAD_LETTERED" in str(error.details())


def test_a_second_payment_is_for_the_service_role(generation: GenerationServiceStub, bury: Callable[..., str]) -> None:
    job_id = bury("video", unknown=True)
    plain = api.RetryJobRequest(job_id=job_id)
    agreed = api.RetryJobRequest(job_id=job_id, accept_second_payment=True)
    assert precondition(refused(lambda: generation.RetryJob(plain, metadata=ALICE))) == "SECOND_PAYMENT"
    assert refused(lambda: generation.RetryJob(agreed, metadata=ALICE)).code() is grpc.StatusCode.PERMISSION_DENIED
    assert generation.RetryJob(agreed, metadata=SERVICE).job.state == job_pb2.JOB_STATE_QUEUED


def test_a_retry_is_seen_by_whoever_watches(generation: GenerationServiceStub, make: Callable[[str], str]) -> None:
    job_id = make("image")
    generation.CancelJob(cancel(job_id), metadata=ALICE)
    generation.RetryJob(api.RetryJobRequest(job_id=job_id), metadata=SERVICE)
    generation.CancelJob(cancel(job_id), metadata=ALICE)
    request = api.WatchJobsRequest(job_ids=[job_id], until_terminal=True)
    messages = [answer.event.message for answer in generation.WatchJobs(request, metadata=ALICE, timeout=60)]
    assert messages == ["Accepted", "Cancelled by alice", "Started again by backend", "Cancelled by alice"]


def test_dead_letters_are_listed_page_by_page(queues: QueueServiceStub, bury: Callable[..., str]) -> None:
    ids = [bury("video", unknown=True), bury("video"), bury("video")]
    letters: list[Any] = []
    token = ""
    while not letters or token:
        request = queue_api.ListDeadLettersRequest(queue="video_generation_queue", page_size=2, page_token=token)
        page = queues.ListDeadLetters(request, metadata=SERVICE)
        letters += page.dead_letters
        token = page.next_page_token
    assert [letter.job.id for letter in letters[:3]] == ids[::-1]
    assert [(letter.provider_calls, letter.unknown_outcomes) for letter in letters[:3]] == [(0, 0), (0, 0), (1, 1)]
    assert letters[0].job.error.code == "INTERNAL"
    wrong = queue_api.ListDeadLettersRequest(page_token="no")
    assert list(violations(refused(lambda: queues.ListDeadLetters(wrong, metadata=SERVICE)))) == ["page_token"]
    unknown = queue_api.ListDeadLettersRequest(queue="nobody")
    assert refused(lambda: queues.ListDeadLetters(unknown, metadata=SERVICE)).code() is grpc.StatusCode.NOT_FOUND


def test_dead_letters_are_redriven_and_discarded_in_the_order_asked(
    queues: QueueServiceStub, bury: Callable[..., str]
) -> None:
    ids = [bury(), bury("video"), bury()]
    redriven = queues.RedriveDeadLetters(
        queue_api.RedriveDeadLettersRequest(job_ids=[ids[2], ids[1]]), metadata=SERVICE
    ).jobs
    assert [job.id for job in redriven] == [ids[2], ids[1]]
    assert {job.state for job in redriven} == {job_pb2.JOB_STATE_QUEUED}
    again = queue_api.RedriveDeadLettersRequest(job_ids=[ids[0], ids[1]])
    error = refused(lambda: queues.RedriveDeadLetters(again, metadata=SERVICE))
    assert precondition(error) == "JOB_STATE"
    assert ids[1] in str(error.details())
    discard = queue_api.DiscardDeadLettersRequest(job_ids=[ids[0]])
    for _ in range(2):
        (discarded,) = queues.DiscardDeadLetters(discard, metadata=SERVICE).jobs
        assert (discarded.state, discarded.error.code) == (job_pb2.JOB_STATE_CANCELLED, "INTERNAL")


def test_an_edit_is_checked_and_frozen_like_any_generation(queues: QueueServiceStub, bury: Callable[..., str]) -> None:
    job_id = bury("video")
    bad = queue_api.RedriveDeadLettersRequest(job_ids=[job_id], video=video(prompt="", duration_seconds="5"))
    error = refused(lambda: queues.RedriveDeadLetters(bad, metadata=SERVICE))
    assert set(violations(error)) == {"video.prompt", "video.duration_seconds"}
    other = queue_api.RedriveDeadLettersRequest(job_ids=[job_id], image=image())
    assert list(violations(refused(lambda: queues.RedriveDeadLetters(other, metadata=SERVICE)))) == ["image"]
    good = queue_api.RedriveDeadLettersRequest(job_ids=[job_id], video=video(prompt="a hare", scene_id=""))
    (job,) = queues.RedriveDeadLetters(good, metadata=SERVICE).jobs
    assert (job.video.prompt, job.video.scene_id, job.video.duration_seconds) == ("a hare", "", "8")
    assert job.model == job.video.model != ""


@pytest.mark.parametrize("ids", [[], ["x"], [str(uuid4())] * 1001])
def test_wrong_ids_of_dead_letters_are_named(queues: QueueServiceStub, ids: list[str]) -> None:
    redrive = queue_api.RedriveDeadLettersRequest(job_ids=ids)
    discard = queue_api.DiscardDeadLettersRequest(job_ids=ids)
    for call in (
        lambda: queues.RedriveDeadLetters(redrive, metadata=SERVICE),
        lambda: queues.DiscardDeadLetters(discard, metadata=SERVICE),
    ):
        assert all(field.startswith("job_ids") for field in violations(refused(call)))


def test_unknown_dead_letters_are_not_found(queues: QueueServiceStub) -> None:
    missing = str(uuid4())
    for call in (
        lambda: queues.RedriveDeadLetters(queue_api.RedriveDeadLettersRequest(job_ids=[missing]), metadata=SERVICE),
        lambda: queues.DiscardDeadLetters(queue_api.DiscardDeadLettersRequest(job_ids=[missing]), metadata=SERVICE),
    ):
        assert refused(call).code() is grpc.StatusCode.NOT_FOUND


def test_queues_are_paused_and_resumed(queues: QueueServiceStub) -> None:
    name = "video_generation_queue"
    assert queues.PauseQueue(queue_api.PauseQueueRequest(queue=name), metadata=SERVICE).queue.paused
    listed = queues.ListQueues(queue_api.ListQueuesRequest(), metadata=SERVICE).queues
    assert [queue.name for queue in listed if queue.paused] == [name]
    assert "image_generation_queue" in {queue.name for queue in listed}
    assert not queues.ResumeQueue(queue_api.ResumeQueueRequest(queue=name), metadata=SERVICE).queue.paused
    unknown = queue_api.PauseQueueRequest(queue="nobody")
    assert refused(lambda: queues.PauseQueue(unknown, metadata=SERVICE)).code() is grpc.StatusCode.NOT_FOUND


def test_dead_letters_and_pauses_want_the_service_role(queues: QueueServiceStub) -> None:
    job_id = str(uuid4())
    for call in (
        lambda: queues.ListDeadLetters(queue_api.ListDeadLettersRequest(), metadata=ALICE),
        lambda: queues.RedriveDeadLetters(queue_api.RedriveDeadLettersRequest(job_ids=[job_id]), metadata=ALICE),
        lambda: queues.DiscardDeadLetters(queue_api.DiscardDeadLettersRequest(job_ids=[job_id]), metadata=ALICE),
        lambda: queues.PauseQueue(queue_api.PauseQueueRequest(queue="video_generation_queue"), metadata=ALICE),
        lambda: queues.ResumeQueue(queue_api.ResumeQueueRequest(queue="video_generation_queue"), metadata=ALICE),
    ):
        assert refused(call).code() is grpc.StatusCode.PERMISSION_DENIED


OPERATION = "v1_found-in-the-log"


def lose(sql: psycopg.Connection, job_id: str, state: str = "UNKNOWN") -> None:
    """A video whose submit has no answer."""
    sql.execute(
        "insert into superstoryboard.provider_calls (job_id, claim, call_hash, route, shape, model, state)"
        " values (%s, 1, 'h', 'interactions', 'OPERATION', 'gemini-omni-1.1-flash', %s)",
        (job_id, state),
    )


def test_a_name_from_a_log_lets_the_job_go_on_and_says_who(
    queues: QueueServiceStub, bury: Callable[..., str], sql: psycopg.Connection
) -> None:
    job_id, other = bury("video"), bury("video")
    for each in (job_id, other):
        lose(sql, each)
    request = queue_api.RecordOperationRequest(job_id=job_id, operation_name=OPERATION)
    for _ in range(2):  # the answer may be lost on the way
        job = queues.RecordOperation(request, metadata=SERVICE).job
        assert (job.id, job.state) == (job_id, job_pb2.JOB_STATE_RUNNING)
    calls = "select state, operation_name, paid from superstoryboard.provider_calls where job_id = %s"
    assert sql.execute(calls, (job_id,)).fetchall() == [("ACCEPTED", OPERATION, None)]
    events = "select message from superstoryboard.job_events where job_id = %s and message like '%%recorded%%'"
    assert sql.execute(events, (job_id,)).fetchall() == [("Operation name recorded by backend",)]
    again = queue_api.RecordOperationRequest(job_id=other, operation_name=OPERATION)
    error = refused(lambda: queues.RecordOperation(again, metadata=SERVICE))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_NAME_IN_USE")
    assert sql.execute(calls, (other,)).fetchall() == [("UNKNOWN", None, None)]


@pytest.mark.parametrize("name", ["", "a b", "models/m/operations/x", "../x", "x" * 513, "v1_\x00"])
def test_a_name_that_no_operation_of_the_route_can_have_is_refused(
    queues: QueueServiceStub, make: Callable[[str], str], sql: psycopg.Connection, name: str
) -> None:
    job_id = make("video")
    lose(sql, job_id)
    request = queue_api.RecordOperationRequest(job_id=job_id, operation_name=name)
    assert list(violations(refused(lambda: queues.RecordOperation(request, metadata=SERVICE)))) == ["operation_name"]


def test_a_name_is_recorded_only_for_a_call_that_lacks_one(
    queues: QueueServiceStub, make: Callable[[str], str], sql: psycopg.Connection
) -> None:
    def ask(job_id: str, metadata: Any = SERVICE) -> grpc.RpcError:
        request = queue_api.RecordOperationRequest(job_id=job_id, operation_name="v1_other")
        return refused(lambda: queues.RecordOperation(request, metadata=metadata))

    job_id = make("video")
    error = ask(job_id)
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_OPEN_CALL")
    assert ask(str(uuid4())).code() is grpc.StatusCode.NOT_FOUND
    assert list(violations(ask("nonsense"))) == ["job_id"]
    lose(sql, job_id)
    assert ask(job_id, ALICE).code() is grpc.StatusCode.PERMISSION_DENIED
