"""What the rows do to the system: to its processes, its database and its broker."""

from __future__ import annotations

import asyncio
import signal
import time

import aio_pika

from devstack.stack.postgres import StopMode
from superstoryboard.broker.artifacts import READY_QUEUE, Broker
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.faults.outside import google_rows
from tests.faults.world import ENDED, LEASE_SECONDS, World

KIND_OF = {"image_worker": "image", "video_worker": "video"}
COMMITS = (
    "accept_jobs_v1",
    "claim_jobs_v1",
    "open_call_v1",
    "keep_name_v1",
    "begin_artifacts_v1",
    "stage_artifacts_v1",
    "claim_artifacts_v1",
    "finish_job_v1",
)
COMMITS_SECONDS = 120.0
HELD_SECONDS = LEASE_SECONDS + 3
"""Longer than any lease of the matrix."""
OTHERS_SECONDS = 90.0


def kill(world: World, service: str) -> None:
    """kill -9 at a random moment."""
    _moment(world, service)
    world.kill(service)


def terminate(world: World, service: str) -> None:
    """SIGTERM at a random moment: drain, and a new start."""
    _moment(world, service)
    world.restart(service)


def _moment(world: World, service: str) -> None:
    kind = KIND_OF.get(service, "")
    if service == "ingest":
        target = world.chance.randrange(1, world.asked)
        world.wait_until(lambda: world.jobs() >= target, f"{target} jobs")
        world.struck += world.asked - world.jobs()
    else:
        world.some_time(kind)
        world.strike(kind)


def freeze(world: World, service: str) -> None:
    """Stop a worker for longer than its leases while another one takes its jobs, then let it go on."""
    process = world.running.services[service]
    other = process.twin("second")
    _moment(world, service)
    process.signal(signal.SIGSTOP)
    try:
        world.others = [other]
        other.start()
        other.wait_serving()
        world.wait(HELD_SECONDS)
    finally:
        process.signal(signal.SIGCONT)
    process.wait_serving()
    world.end_others()


def kill_at_random(world: World) -> None:
    """kill -9 of a random process every 3 seconds for a minute."""
    begun = time.monotonic()
    for number in range(20):
        world.wait(max(0.0, begun + 3 * (number + 1) - time.monotonic()))
        world.strike()
        world.kill(world.chance.choice(("ingest", "image_worker", "video_worker", "asset_writer")))


def restart_postgres(world: World, mode: StopMode) -> None:
    """The database is away for a second."""
    world.some_time()
    world.strike()
    _away(world, mode, 1)


def database_away(world: World) -> None:
    """The database is away for longer than every lease."""
    world.some_time()
    world.strike()
    _away(world, StopMode.FAST, world.away_seconds)


def _away(world: World, mode: StopMode, seconds: float) -> None:
    world.postgres.stop(mode)
    try:
        world.wait(seconds)
    finally:
        world.postgres.start()
        world.reconnect()


def database_read_only(world: World) -> None:
    """For longer than a lease the database refuses every write."""
    world.some_time()
    world.strike()
    sql = world.running.sql
    sql.execute("set default_transaction_read_only = off")
    sql.execute("alter system set default_transaction_read_only = on")
    sql.execute("select pg_reload_conf()")
    try:
        world.wait(HELD_SECONDS)
    finally:
        sql.execute("alter system reset default_transaction_read_only")
        sql.execute("select pg_reload_conf()")


def end_backends(world: World) -> None:
    """Every session of ours ends."""
    world.some_time()
    world.strike()
    world.running.sql.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'superstoryboard-%' and pid <> pg_backend_pid()"
    )


def doom_commits(world: World) -> None:
    """From now on the answers of transitions get lost after their COMMIT, some of each kind."""
    world.restart(DATABASE_URL=world.proxy.url)
    world.proxy.lose(dict.fromkeys(COMMITS, 2))


def lose_commits(world: World) -> None:
    """Wait until they all were lost; then everything has its usual way to the database again."""
    left = world.proxy.wait_lost(COMMITS_SECONDS)
    assert not left, f"never called: {left}"
    world.struck += 2 * len(COMMITS)
    world.restart()


def restart_rabbitmq(world: World) -> None:
    """The broker is away for a second."""
    world.some_time()
    world.strike()
    world.rabbitmq.stop()
    try:
        world.wait(1)
    finally:
        world.rabbitmq.start()


def broker_gone(world: World) -> None:
    """The broker stays away until everything has ended."""
    world.some_time()
    world.strike()
    world.rabbitmq.stop()
    try:
        world.wait_until(lambda: world.jobs(f"state in {ENDED}") == world.asked, "the end of all", OTHERS_SECONDS)
    except AssertionError:
        world.wrong.append("jobs do not end without the broker")
    finally:
        world.rabbitmq.start()


def stop_writer(world: World) -> None:
    """Nobody takes hints from the broker."""
    world.running.services["asset_writer"].stop()


def lose_publishes(world: World) -> None:
    """Take every hint off the broker before anybody could read it."""

    async def purge() -> int:
        async with await aio_pika.connect(world.rabbitmq.url) as connection:
            channel = await connection.channel()
            purged = await (await channel.get_queue(READY_QUEUE)).purge()
            return purged.message_count or 0

    world.wait_until(lambda: world.jobs("state = 'STAGED'") == world.asked, "every job staged")
    world.struck += asyncio.run(purge())
    world.running.services["asset_writer"].start()
    world.running.services["asset_writer"].wait_serving()


def double_deliveries(world: World) -> None:
    """Publish a hint for every artifact, twice, whatever became of it."""

    async def publish(artifacts: list[str]) -> None:
        broker = Broker(world.rabbitmq.url, "faults")
        await broker.connect()
        for artifact in artifacts * 2:
            await broker.publish(ArtifactReady(artifact_id=artifact))
        await broker.aclose()

    for _ in range(3):
        world.some_time()
        world.strike()
        rows = world.running.sql.execute("select id::text from superstoryboard.artifacts").fetchall()
        asyncio.run(publish([row[0] for row in rows]))


def double_workers(world: World) -> None:
    """A second worker of each kind."""
    world.others = [world.running.services[f"{kind}_worker"].twin("second") for kind in ("image", "video")]
    for other in world.others:
        other.start()
    for other in world.others:
        other.wait_serving()


def claim_again(world: World) -> None:
    """As if the leases of first attempts had run out, while the workers go on and others take their jobs."""
    for _ in range(10):
        world.wait(0.3)
        world.struck += world.end_leases("j.attempt = 1")
    world.end_others()


def outlast_leases(world: World) -> None:
    """Answers take longer than a lease while a second worker looks for leases that have ended."""
    world.wait_until(lambda: world.jobs(f"state in {ENDED}") == world.asked, "the end of all", OTHERS_SECONDS)
    world.struck += sum(row["accepted"] for row in google_rows(world.running))
    world.end_others()


def stop_in_submit(world: World) -> None:
    """SIGTERM while Google has accepted a submit and not answered yet."""

    def unanswered() -> bool:
        return any(row["on"] == "submit" and row["status"] is None for row in google_rows(world.running))

    world.wait_until(unanswered, "a submit that waits for its answer")
    world.struck += 1
    world.restart("video_worker")
