"""The rows: each breaks one thing while jobs run, and says what may come of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import aio_pika

from devstack.postgres import StopMode
from superstoryboard.broker.artifacts import READY_QUEUE, Broker
from superstoryboard.v1.artifact_pb2 import ArtifactReady
from tests.faults.world import World

LEASE_SECONDS = 5
COMMITS = (
    "accept_jobs_v1",
    "claim_jobs_v1",
    "open_call_v1",
    "accept_call_v1",
    "begin_artifact_v1",
    "stage_artifact_v1",
    "claim_artifacts_v1",
    "finish_job_v1",
)
COMMITS_SECONDS = 40.0
INTERRUPTED = frozenset({"SUBMIT_INTERRUPTED"})
UNANSWERED = frozenset({"NO_ANSWER"})


@dataclass(frozen=True)
class Row:
    """A fault: what is laid out before the jobs are submitted, what happens while they run, and what may come of it.

    `dead` are the codes of dead letters that may be left for a person; `spends` says whether attempts may be spent
    beyond the first; `factor` multiplies the jobs; `patience_seconds` is how long the jobs may take afterwards.
    """

    name: str
    during: Callable[[World], None]
    before: Callable[[World], None] = lambda _: None
    service: str = ""
    step: str = ""
    dead: frozenset[str] = frozenset()
    spends: bool = True
    factor: float = 1
    patience_seconds: float = 90.0


def nothing(world: World) -> None:
    """The row that shows what no fault looks like."""
    del world


def kill(world: World, service: str) -> None:
    """kill -9 at a random moment."""
    world.some_time()
    world.kill(service)


def terminate(world: World, service: str) -> None:
    """SIGTERM at a random moment: drain, and a new start."""
    world.some_time()
    process = world.running.services[service]
    process.stop()
    process.start()
    process.wait_serving()


def freeze(world: World, service: str) -> None:
    """Stop a worker for longer than its leases while another one takes its jobs, then let it go on."""
    world.some_time()
    process = world.running.services[service]
    process.signal(signal.SIGSTOP)
    other = process.twin("second")
    other.start()
    try:
        other.wait_serving()
        world.wait(LEASE_SECONDS + 2)
    finally:
        process.signal(signal.SIGCONT)
    world.wait(2)
    other.stop()


def restart_postgres(world: World, mode: StopMode) -> None:
    world.some_time()
    world.postgres.stop(mode)
    world.wait(1)
    world.postgres.start()
    world.reconnect()


def end_backends(world: World) -> None:
    world.some_time()
    world.running.sql.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'superstoryboard-%' and pid <> pg_backend_pid()"
    )


def restart_rabbitmq(world: World) -> None:
    world.some_time()
    world.rabbitmq.stop()
    world.wait(1)
    world.rabbitmq.start()


def lose_publishes(world: World) -> None:
    """Take every hint off the broker while jobs run."""

    async def purge() -> None:
        connection = await aio_pika.connect(world.rabbitmq.url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(READY_QUEUE)
            for _ in range(100):
                await queue.purge()
                await asyncio.sleep(0.03)

    asyncio.run(purge())


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
        rows = world.running.sql.execute("select id::text from superstoryboard.artifacts").fetchall()
        asyncio.run(publish([row[0] for row in rows]))


def storage(world: World, **answer: object) -> None:
    world.running.script_storage({"on": "upload", "times": 10} | answer)


def google(world: World, on: str, **answer: object) -> None:
    world.running.script({"on": on, "times": 5} | answer)


def doom_commits(world: World) -> None:
    """From now on the answers of transitions get lost after their COMMIT, some of each kind."""
    for process in world.running.services.values():
        process.stop()
        process.start(DATABASE_URL=world.proxy.url)
    for process in world.running.services.values():
        process.wait_serving()
    world.proxy.lose(dict.fromkeys(COMMITS, 2))


def lose_commits(world: World) -> None:
    """Wait until they all were lost; then everything has its usual way to the database again."""
    left = world.proxy.wait_lost(COMMITS_SECONDS)
    assert not left, f"never called: {left}"
    for process in world.running.services.values():
        process.stop()
        process.start()
        process.wait_serving()


def kill_at_random(world: World) -> None:
    """kill -9 of a random process every 3 seconds for a minute."""
    begun = time.monotonic()
    for number in range(20):
        world.wait(max(0.0, begun + 3 * (number + 1) - time.monotonic()))
        world.kill(world.chance.choice(sorted(STEPS)))


def double_workers(world: World) -> None:
    """A second worker of each kind, and pictures that take long enough for two attempts."""
    world.others = [world.running.services[f"{kind}_worker"].twin("second") for kind in ("image", "video")]
    for other in world.others:
        other.start()
    for other in world.others:
        other.wait_serving()
    google(world, on="image", times=1000, delay_seconds=1)


def claim_again(world: World) -> None:
    """As if the leases of first attempts had run out, while the workers go on and others take their jobs."""
    for _ in range(10):
        world.wait(0.3)
        world.running.sql.execute(
            "update superstoryboard.turns t set lease_until = now() from superstoryboard.jobs j"
            " where j.id = t.job and t.lease_until is not null and j.attempt = 1"
        )
        for queue in ("image_generation_queue", "video_generation_queue"):
            world.running.sql.execute("select superstoryboard.wake(%s)", (queue,))
    for other in world.others:
        other.stop()


def remove_messages(world: World) -> None:
    """Somebody archives the messages of three videos that are being made."""
    waiting = (
        "select array_agg(msg_id) from (select msg_id from superstoryboard.jobs where storyboard_id = %s"
        " and kind = 'video' and state in ('QUEUED', 'RUNNING') limit 3) j having count(*) = 3"
    )
    world.running.wait_for_row(waiting, (world.row,))
    world.running.sql.execute(f"select pgmq.archive('video_generation_queue', ({waiting}))", (world.row,))
    world.running.sql.execute("select superstoryboard.sweep()")


def poison(world: World) -> None:
    """Bad messages in front of the good ones."""
    for queue in ("image", "video"):
        for body in ("[1, 2]", '"hi"', "{}", "null", '{"storyboardId": "..", "prompt": 7}'):
            world.running.sql.execute("select pgmq.send(%s, %s::jsonb)", (f"{queue}_generation_queue", body))


def _interrupted(service: str) -> frozenset[str]:
    """A submit that was under way when its worker died is left to a person."""
    return INTERRUPTED if service == "video_worker" else frozenset()


def _kill_at(service: str, step: str) -> Row:
    return Row(f"kill -9 {service} at {step}", nothing, service=service, step=step, dead=_interrupted(service))


STEPS = {
    "ingest": ("accepted-job",),
    "image_worker": ("claimed", "answered", "staged-bytes", "staged"),
    "video_worker": ("claimed", "intended", "accepted", "operation-done", "downloaded", "staged-bytes", "staged"),
    "asset_writer": ("fetched", "uploaded", "finished"),
}
TOO_LARGE = {"statusCode": "413", "error": "Payload too large", "message": "The object exceeded the maximum size"}

ROWS = [
    Row("no fault", nothing, spends=False),
    *(_kill_at(service, step) for service, steps in STEPS.items() for step in steps),
    *(
        Row(f"kill -9 {service} at random", partial(kill, service=service), dead=_interrupted(service))
        for service in STEPS
    ),
    *(Row(f"SIGTERM {service}", partial(terminate, service=service), spends=False) for service in STEPS),
    Row("Postgres restarts", partial(restart_postgres, mode=StopMode.FAST)),
    Row("Postgres is killed", partial(restart_postgres, mode=StopMode.KILL)),
    Row("all backends end", end_backends),
    Row("answers of COMMIT are lost", lose_commits, doom_commits),
    Row("RabbitMQ restarts", restart_rabbitmq, spends=False),
    Row("publishes are lost", lose_publishes, spends=False),
    Row("deliveries come twice", double_deliveries, spends=False),
    Row("Storage answers 500", nothing, partial(storage, status=500, body={"message": "broken"})),
    Row("Storage drops connections", nothing, partial(storage, drop=True)),
    Row("Storage is slow", nothing, partial(storage, delay_seconds=2), spends=False),
    Row("Storage never answers", nothing, partial(storage, times=3, delay_seconds=15)),
    Row(
        "Storage answers 413",
        nothing,
        partial(storage, times=3, path_contains="_", status=400, body=TOO_LARGE),
        dead=frozenset({"STORAGE_TOO_LARGE"}),
    ),
    Row(
        "Google answers 429",
        nothing,
        partial(google, on="any", kind="rate_limited_minute", retry_delay_seconds=1),
        spends=False,
    ),
    Row("Google answers 500 to images", nothing, partial(google, on="image", kind="internal")),
    Row(
        "Google answers 500 to submits",
        nothing,
        partial(google, on="submit", kind="internal", times=2),
        dead=frozenset({"PROVIDER_ERROR"}),
    ),
    Row("Google breaks off images before it accepts", nothing, partial(google, on="image", drop="before_accept")),
    Row("Google breaks off images after it accepted", nothing, partial(google, on="image", drop="after_accept")),
    Row(
        "Google breaks off a submit after it accepted",
        nothing,
        partial(google, on="submit", drop="after_accept", times=1),
        dead=UNANSWERED,
    ),
    Row(
        "Google breaks off polls",
        nothing,
        partial(google, on="poll", drop="before_accept", times=20),
        spends=False,
    ),
    Row("leases of image_worker are lost", partial(freeze, service="image_worker")),
    Row("leases of video_worker are lost", partial(freeze, service="video_worker"), dead=INTERRUPTED),
    Row(
        "two attempts at one job",
        claim_again,
        double_workers,
        dead=INTERRUPTED,
    ),
    Row("messages are removed by hand", remove_messages),
    Row("poison messages in front", nothing, poison, spends=False),
    Row(
        "kill -9 of a random process every 3 s for 60 s",
        kill_at_random,
        dead=INTERRUPTED | {"WORKER_LOST"},
        factor=12.5,
        patience_seconds=300,
    ),
]
