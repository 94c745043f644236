"""Storyboards of owners, editors, viewers and strangers over gRPC and the command line, against a real ingest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psycopg
import pytest

from superstoryboard.v1 import generation_service_pb2 as api
from superstoryboard.v1 import queue_service_pb2 as operators
from superstoryboard.v1.generation_service_pb2_grpc import GenerationServiceStub
from superstoryboard.v1.job_pb2 import Job
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub
from superstoryboard.v1.storyboard_pb2 import (
    STORYBOARD_ACCESS_EDITOR,
    STORYBOARD_ACCESS_OWNER,
    STORYBOARD_ACCESS_SHARED,
    STORYBOARD_ACCESS_VIEWER,
    Storyboard,
)
from tests.integration.helpers import KV
from tests.integration.ingest_calls import image, reason, refused, video, violations
from tests.running import ALICE, BOB, SERVICE, Service, bearer, token

CAROL = bearer(token("carol"))
STORAGE = "https://project.example"
VIEWER, EDITOR = STORYBOARD_ACCESS_VIEWER, STORYBOARD_ACCESS_EDITOR
Metadata = Any


@pytest.fixture(scope="module")
def ingest_settings() -> dict[str, str]:
    return {"SUPABASE_PUBLIC_URL": STORAGE, "SHARED_STORYBOARDS": "free,board"}


@pytest.fixture
def sql(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        yield connection
        connection.execute("delete from superstoryboard.storyboards")
        connection.execute("delete from superstoryboard.storyboard_members")
        connection.execute(f"delete from {KV}")
        connection.execute("update superstoryboard.jobs set storyboard_id = null")


@pytest.fixture
def create(generation: GenerationServiceStub) -> Callable[..., Job]:
    def made(who: Metadata, board: str = "hers", **changes: Any) -> Job:
        request = api.CreateImageJobRequest(image=image(storyboard_id=board, **changes))
        return generation.CreateImageJob(request, metadata=who).job

    return made


@pytest.fixture
def share(generation: GenerationServiceStub) -> Callable[..., Storyboard]:
    def shared(who: Metadata, member: str, access: int = VIEWER, board: str = "hers") -> Storyboard:
        request = api.ShareStoryboardRequest(storyboard_id=board, member=member, access=access)  # type: ignore[arg-type]
        return generation.ShareStoryboard(request, metadata=who).storyboard

    return shared


def denied(call: Callable[[], Any]) -> bool:
    error = refused(call)
    return (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS")


def missing(call: Callable[[], Any]) -> bool:
    return refused(call).code() is grpc.StatusCode.NOT_FOUND


pytestmark = pytest.mark.usefixtures("sql")


def test_a_stranger_makes_no_jobs_and_sees_none(
    generation: GenerationServiceStub, create: Callable[..., Job], rows: Callable[[], tuple[int, int]]
) -> None:
    job = create(ALICE)
    before = rows()
    assert denied(lambda: create(BOB))
    request = api.CreateVideoJobRequest(video=video(storyboard_id="hers"))
    assert denied(lambda: generation.CreateVideoJob(request, metadata=BOB))
    assert rows() == before
    assert missing(lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=BOB))
    assert missing(lambda: generation.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=BOB))
    assert missing(lambda: generation.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=BOB))
    assert missing(lambda: generation.GetStoryboard(api.GetStoryboardRequest(storyboard_id="hers"), metadata=BOB))
    share = api.ShareStoryboardRequest(storyboard_id="hers", member="bob", access=EDITOR)
    assert missing(lambda: generation.ShareStoryboard(share, metadata=BOB))
    unshare = api.UnshareStoryboardRequest(storyboard_id="hers", member="alice")
    assert missing(lambda: generation.UnshareStoryboard(unshare, metadata=BOB))
    listed = generation.ListJobs(api.ListJobsRequest(storyboard_id="hers"), metadata=BOB)
    assert list(listed.jobs) == []
    assert create(SERVICE), "a service writes all"


def test_items_of_a_batch_are_refused_one_by_one(generation: GenerationServiceStub, create: Callable[..., Job]) -> None:
    create(ALICE)
    items = [
        api.BatchItem(image=api.CreateImageJobRequest(image=image(storyboard_id=board)))
        for board in ("his", "hers", "his")
    ]
    results = generation.BatchCreateJobs(api.BatchCreateJobsRequest(items=items), metadata=BOB).results
    assert [result.WhichOneof("result") for result in results] == ["job", "error", "job"]
    assert results[1].error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "storyboard hers belongs to someone else" in results[1].error.message


def test_a_viewer_reads_and_changes_nothing(
    generation: GenerationServiceStub, create: Callable[..., Job], share: Callable[..., Storyboard]
) -> None:
    job = create(ALICE)
    assert [(each.member, each.access) for each in share(ALICE, "bob").members] == [("bob", VIEWER)]
    assert generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=BOB).job.id == job.id
    listed = generation.ListJobs(api.ListJobsRequest(storyboard_id="hers"), metadata=BOB).jobs
    assert [each.id for each in listed] == [job.id]
    assert job.id not in {each.id for each in generation.ListJobs(api.ListJobsRequest(), metadata=BOB).jobs}
    for request in (api.WatchJobsRequest(job_ids=[job.id]), api.WatchJobsRequest(storyboard_id="hers")):
        stream = generation.WatchJobs(request, metadata=BOB, timeout=60)
        assert any(answer.event.job_id == job.id for answer in stream)
        stream.cancel()  # type: ignore[no-untyped-call]  # in grpc-stubs
    board = generation.GetStoryboard(api.GetStoryboardRequest(storyboard_id="hers"), metadata=BOB).storyboard
    assert (board.owner, board.access, list(board.members)) == ("alice", VIEWER, [])
    assert board.HasField("lapse_time")
    assert denied(lambda: create(BOB))
    assert denied(lambda: generation.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=BOB))
    assert denied(lambda: generation.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=BOB))
    assert denied(lambda: share(BOB, "carol"))


def test_an_editor_writes_until_that_ends(
    generation: GenerationServiceStub, create: Callable[..., Job], share: Callable[..., Storyboard]
) -> None:
    job = create(ALICE)
    share(ALICE, "bob")
    assert [each.access for each in share(ALICE, "bob", EDITOR).members] == [EDITOR]
    his = create(BOB)
    assert generation.GetJob(api.GetJobRequest(job_id=his.id), metadata=ALICE).job.id == his.id, "the owner reads all"
    generation.CancelJob(api.CancelJobRequest(job_id=job.id), metadata=BOB)
    generation.RetryJob(api.RetryJobRequest(job_id=job.id), metadata=BOB)
    assert denied(lambda: share(BOB, "carol"))
    request = api.UnshareStoryboardRequest(storyboard_id="hers", member="bob")
    assert list(generation.UnshareStoryboard(request, metadata=ALICE).storyboard.members) == []
    assert denied(lambda: create(BOB))
    assert missing(lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=BOB))
    assert generation.GetJob(api.GetJobRequest(job_id=his.id), metadata=BOB).job.id == his.id, "his own"


def test_a_service_transfers_and_nobody_else(
    channel: grpc.Channel, create: Callable[..., Job], sql: psycopg.Connection
) -> None:
    create(ALICE)
    queues = QueueServiceStub(channel)
    request = operators.TransferStoryboardRequest(storyboard_id="hers", owner="bob")
    error = refused(lambda: queues.TransferStoryboard(request, metadata=BOB))
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
    board = queues.TransferStoryboard(request, metadata=SERVICE).storyboard
    assert (board.owner, board.access, board.HasField("lapse_time")) == ("bob", STORYBOARD_ACCESS_OWNER, False)
    assert denied(lambda: create(ALICE))
    assert create(BOB)
    sql.execute(f"insert into {KV} values ('storyboard:hers', '{{\"userId\": \"alice\"}}')")
    error = refused(lambda: queues.TransferStoryboard(request, metadata=SERVICE))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "OWNER_IN_KV")
    assert create(ALICE)


def test_what_is_shared_by_the_settings_is_everyones_to_write(
    generation: GenerationServiceStub, create: Callable[..., Job], share: Callable[..., Storyboard]
) -> None:
    job = create(ALICE, "free")
    assert create(BOB, "free")
    assert missing(lambda: generation.GetJob(api.GetJobRequest(job_id=job.id), metadata=BOB))
    board = generation.GetStoryboard(api.GetStoryboardRequest(storyboard_id="free"), metadata=BOB).storyboard
    assert (board.owner, board.access) == ("", STORYBOARD_ACCESS_SHARED)
    error = refused(lambda: share(ALICE, "bob", board="free"))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_OWNER")


def test_a_full_storyboard_takes_no_member_more(
    create: Callable[..., Job], share: Callable[..., Storyboard], sql: psycopg.Connection
) -> None:
    create(ALICE)
    members = "select 'hers', 'member-' || number, 'viewer', 'alice' from generate_series(1, 100) as number"
    sql.execute(f"insert into superstoryboard.storyboard_members (storyboard_id, member, role, shared_by) {members}")
    error = refused(lambda: share(ALICE, "bob"))
    assert (error.code(), reason(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMBER_LIMIT")
    assert len(share(ALICE, "member-1", EDITOR).members) == 100, "a member may be changed"


@pytest.mark.parametrize("member", ["", " ", "sql", "service_role", "local", "a" * 129, "bob\u202e", "bo\nb", "b\0b"])
def test_a_member_must_be_someone(share: Callable[..., Storyboard], create: Callable[..., Job], member: str) -> None:
    create(ALICE)
    error = refused(lambda: share(ALICE, member))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(error)) == {"member"}


@pytest.mark.parametrize("access", [0, 3, 4, 99])
def test_a_member_reads_or_writes(share: Callable[..., Storyboard], create: Callable[..., Job], access: int) -> None:
    create(ALICE)
    assert set(violations(refused(lambda: share(ALICE, "bob", access)))) == {"access"}


@pytest.mark.parametrize("board", ["", "../x", "a b", "x" * 129, ".x"])
def test_storyboards_are_named_by_ids(share: Callable[..., Storyboard], board: str) -> None:
    assert set(violations(refused(lambda: share(ALICE, "bob", board=board)))) == {"storyboard_id"}


OWN = f"{STORAGE}/storage/v1"
SOURCES = {
    "signed, another's": (f"{OWN}/object/sign/storyboard-images/hers/s_1.png?token=x", False),
    "authenticated form": (f"{OWN}/object/authenticated/storyboard-images/hers/s_1.png", False),
    "no form": (f"{OWN}/object/storyboard-images/hers/s_1.png", False),
    "rendered": (f"{OWN}/render/image/sign/storyboard-images/hers/s_1.png?token=x", False),
    "escaped": (f"{OWN}/object/sign/storyboard-images%2Fhers%2Fs_1.png?token=x", False),
    "escaped letters": (f"{OWN}/object/sign/storyboard%2dimages/%68ers/s_1.png?token=x", False),
    "doubled slashes": (f"{OWN}//object//sign//storyboard-images//hers//s_1.png?token=x", False),
    "port and case of the host": (
        "https://PROJECT.example:443/storage/v1/object/sign/storyboard-images/hers/s.png",
        False,
    ),
    "a video's": (f"{OWN}/object/sign/storyboard-videos/hers/s_1.png?token=x", False),
    "nobody's": (f"{OWN}/object/sign/storyboard-images/nobody/s_1.png?token=x", False),
    "the bucket alone": (f"{OWN}/object/sign/storyboard-images/?token=x", False),
    "by S3": (f"{OWN}/s3/storyboard-images/hers/s_1.png", False),
    "staging": (f"{OWN}/object/sign/artifact-staging/his/s_1.png?token=x", False),
    "a private one of the caller": (f"{OWN}/object/sign/storyboard-images/his/s_1.png?token=x", True),
    "one that everyone writes": (f"{OWN}/object/sign/storyboard-images/free/s_1.png?token=x", True),
    "public": (f"{OWN}/object/public/storyboard-images/hers/s_1.png", True),
    "public, rendered": (f"{OWN}/render/image/public/storyboard-images/hers/s_1.png", True),
    "another bucket": (f"{OWN}/object/sign/uploads/hers/s_1.png?token=x", True),
    "another host": ("https://elsewhere.example/storage/v1/object/sign/storyboard-images/hers/s.png", True),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_private_source_must_be_the_callers_to_read(
    create: Callable[..., Job], share: Callable[..., Storyboard], name: str
) -> None:
    create(ALICE)
    url, allowed = SOURCES[name]
    if allowed:
        assert create(BOB, "his", source_image_url=url)
        return
    error = refused(lambda: create(BOB, "his", source_image_url=url))
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS")
    assert set(violations(error)) == {"image.source_image_url"}
    assert create(SERVICE, "his", source_image_url=url)
    if "/hers" in url or "%68ers" in url:
        share(ALICE, "bob")
        assert create(BOB, "his", source_image_url=url), "shared"


def test_the_command_line_shares_and_transfers(ingest: Service, create: Callable[..., Job]) -> None:
    create(ALICE)

    def run(who: Metadata, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "INGEST_ADDRESS": ingest.address, "STORYBOARD_TOKEN": who[0][1].split()[1]}
        command = [sys.executable, "-m", "storyboard", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert run(ALICE, "share", "hers", "bob", "--editor").stdout.splitlines()[-1].split() == [
        "bob",
        "read",
        "and",
        "write",
    ]
    assert "hers belongs to alice until 20" in run(BOB, "owner", "hers").stdout
    assert "You may read and write." in run(BOB, "owner", "hers").stdout
    failed = run(BOB, "share", "hers", "carol")
    assert failed.returncode == 1
    assert "only the owner of storyboard hers may share it" in failed.stderr
    assert "storyboard share STORYBOARD USER" in failed.stderr
    assert run(ALICE, "unshare", "hers", "bob").returncode == 0
    assert run(BOB, "owner", "hers").returncode == 1
    moved = run(SERVICE, "transfer", "hers", "bob", "--json")
    assert json.loads(moved.stdout)["owner"] == "bob"
    assert run(BOB, "transfer", "hers", "bob").returncode == 1
    assert "hers belongs to bob." in run(BOB, "owner", "hers").stdout
