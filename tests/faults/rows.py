"""The rows: each breaks one thing while jobs run, and says what may come of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from devstack.stack.postgres import StopMode
from services.video_worker.search import LOOKS
from tests.emulators.google_fixture import OMNI_MODEL, VIDEO_MODEL
from tests.emulators.storage_fixture import STAGING_BUCKET
from tests.faults import answers, people, strikes
from tests.faults.answers import google, google_gives, storage, storage_gives
from tests.faults.process_rows import INTERRUPTED, PROCESSES, SHARED, UNKNOWN
from tests.faults.row import Row, nothing
from tests.faults.world import IMAGES_AT_ONCE, SEARCH_SECONDS, VIDEOS_AT_ONCE


def _refused_staging(name: str, answer: dict[str, Any], pictures: int) -> Row:
    """What waits is mended with staging. What was buried is redriven: all videos come, and nothing is paid again.

    `pictures`: how many stay dead letters: only the memory of a worker had their bytes, and it gave them up; a redrive
    looks for them in staging, where they are not.
    """
    return Row(
        f"staging answers {name} until it is mended",
        people.mend_staging_and_redrive,
        partial(answers.refuse_staging, answer=answer),
        dead=frozenset({"PAID_RESULT_LOST"}) if pictures else frozenset(),
        most_dead=pictures,
        extra_seconds=90,
    )


TWO_LOOKS_SECONDS = 2 * SEARCH_SECONDS / LOOKS
"""A lost operation that is listed is found by then."""
DATABASE = [
    Row("Postgres restarts", partial(strikes.restart_postgres, mode=StopMode.FAST)),
    Row("Postgres is killed", partial(strikes.restart_postgres, mode=StopMode.KILL)),
    Row("the database is away for longer than every lease", strikes.database_away, spends=False, leases=3),
    Row("the database is read-only for a while", strikes.database_read_only, spends=False, leases=3),
    Row("all backends end", strikes.end_backends),
    Row("answers of COMMIT are lost", strikes.lose_commits, strikes.doom_commits),
    Row(
        "somebody locks the row of a job",
        partial(people.hold_job, message=False),
        partial(google, on="image", delay_seconds=1),
        spends=False,
    ),
    Row(
        "somebody locks the message of a job",
        partial(people.hold_job, message=True),
        partial(google, on="image", delay_seconds=1),
        spends=False,
    ),
    Row(
        "somebody locks a kv row",
        partial(people.hold_kv, key="scene:{row}:s1"),
        people.make_scene_rows,
        spends=False,
        extra_seconds=60,
    ),
    Row("somebody locks a storyboard", partial(people.hold_kv, key="storyboard:{row}"), spends=False, extra_seconds=60),
]
BROKER = [
    Row("RabbitMQ restarts", strikes.restart_rabbitmq, spends=False),
    Row("RabbitMQ is gone", strikes.broker_gone, spends=False),
    Row("publishes are lost", strikes.lose_publishes, strikes.stop_writer, spends=False),
    Row("deliveries come twice", strikes.double_deliveries, spends=False),
]
_STAGED: dict[str, Any] = {"on": "download", "path_contains": STAGING_BUCKET, "times": 5}
STORAGE = [
    Row(
        "Storage answers 500",
        nothing,
        partial(storage, status=500, body={"message": "broken"}),
        evidence=storage_gives("upload", 500),
    ),
    Row("Storage drops connections", nothing, partial(storage, drop=True), evidence=storage_gives("upload", 0)),
    Row(
        "Storage is slow",
        nothing,
        partial(storage, delay_seconds=2),
        evidence=storage_gives("upload", 200),
        spends=False,
    ),
    Row(
        "Storage never answers",
        nothing,
        partial(storage, times=3, delay_seconds=15),
        evidence=storage_gives("upload", 0, 200),
    ),
    Row(
        "Storage answers 413",
        nothing,
        partial(storage, times=3, path_contains="/storyboard-", **answers.TOO_LARGE),
        evidence=storage_gives("upload", 400),
        dead=frozenset({"STORAGE_TOO_LARGE"}),
        most_dead=3,
        forsakes=3,
    ),
    _refused_staging("413", answers.TOO_LARGE, IMAGES_AT_ONCE),
    _refused_staging("415", answers.WRONG_TYPE, IMAGES_AT_ONCE),
    _refused_staging("403", answers.FORBIDDEN, 0),
    Row(
        "kill -9 image_worker while staging is away",
        answers.kill_while_staging_is_away,
        partial(answers.refuse_staging, answer={"status": 503}),
        dead=frozenset({"WORKER_LOST"}) | UNKNOWN,
        most_dead=IMAGES_AT_ONCE,
        discards=IMAGES_AT_ONCE,
        leases=3,
        extra_seconds=20,
    ),
    Row(
        "Storage answers 503 at a rescue",
        nothing,
        service="image_worker",
        step="staged-bytes",
        between=answers.fail_rescues,
        evidence=lambda world: storage_gives("download", 503)(world) + storage_gives("info", 503)(world),
        discards=IMAGES_AT_ONCE,
        extra_seconds=20,
    ),
    Row(
        "reads of staging give a page with 200",
        nothing,
        partial(storage, **(_STAGED | answers.PAGE)),
        evidence=answers.staged_reads,
        spends=False,
        extra_seconds=60,
    ),
    Row(
        "reads of staging break off",
        nothing,
        partial(storage, **_STAGED, body_bytes=100, drop=True),
        evidence=answers.staged_reads,
        spends=False,
        extra_seconds=60,
    ),
    Row(
        "reads of staging give too little with 200",
        nothing,
        partial(storage, **_STAGED, body_bytes=100),
        evidence=answers.staged_reads,
        spends=False,
        extra_seconds=60,
    ),
]
GOOGLE = [
    Row(
        "Google answers 429",
        nothing,
        partial(google, on="any", kind="rate_limited_minute", retry_delay_seconds=1),
        evidence=google_gives("any", 429),
        spends=False,
    ),
    Row(
        "Google answers 500 to images",
        nothing,
        partial(google, on="image", kind="internal"),
        evidence=google_gives("image", 500),
    ),
    Row(
        "Google answers 500 to submits",
        nothing,
        partial(google, on="submit", kind="internal", times=2),
        evidence=google_gives("submit", 500),
        dead=frozenset({"PROVIDER_ERROR"}) | UNKNOWN,
    ),
    Row(
        "Google breaks off images before it accepts",
        nothing,
        partial(google, on="image", drop="before_accept"),
        evidence=google_gives("image", None),
    ),
    Row(
        "Google breaks off images after it accepted",
        nothing,
        partial(google, on="image", drop="after_accept"),
        evidence=google_gives("image", None),
    ),
    Row(
        "Google breaks off a submit after it accepted",
        nothing,
        partial(google, on="submit", drop="after_accept", times=1),
        evidence=google_gives("submit", None),
        dead=UNKNOWN,
        most_dead=1,
        video_model=OMNI_MODEL,
    ),
    Row(
        "Google breaks off a submit of Veo after it accepted",
        nothing,
        partial(google, on="submit", drop="after_accept", times=1),
        evidence=google_gives("submit", None),
        spends=False,
        finds=True,
        extra_seconds=TWO_LOOKS_SECONDS,
        video_model=VIDEO_MODEL,
    ),
    Row(
        "Google breaks off polls",
        nothing,
        partial(google, on="poll", drop="before_accept", times=20),
        evidence=google_gives("poll", None),
        spends=False,
    ),
    Row(
        "Google answers 404 to one poll",
        nothing,
        partial(google, on="poll", status=404, body=answers.NOT_FOUND, times=1),
        evidence=google_gives("poll", 404),
        spends=False,
        extra_seconds=60,
    ),
    Row("Google answers images in unknown shapes", nothing, answers.odd_images, evidence=answers.odd_answers),
    Row(
        "Google answers a submit in an unknown shape",
        nothing,
        partial(google, on="submit", status=200, body={"ticket": "t1"}, accept=True, times=1),
        evidence=answers.unnamed_submits,
        spends=False,
        finds=True,
        extra_seconds=TWO_LOOKS_SECONDS,
    ),
    Row(
        "Google answers a poll in an unknown shape",
        nothing,
        partial(google, on="poll", status=200, body=answers.ODD_OPERATION, times=1),
        evidence=answers.polls,
        dead=UNKNOWN,
        most_dead=1,
        forsakes=1,
        extra_seconds=60,
    ),
]
PEOPLE = [
    Row("messages are removed by hand", people.remove_messages),
    Row("poison messages in front", nothing, people.poison, spends=False),
    Row("hostile messages in front", people.lists_answer, people.hostile_poison, spends=False),
    Row("somebody previews the queues again and again", people.preview, spends=False),
]
ROWS = [
    *PROCESSES,
    *SHARED,
    *DATABASE,
    *BROKER,
    *STORAGE,
    *GOOGLE,
    *PEOPLE,
    Row(
        "kill -9 of a random process every 3 s for 60 s",
        strikes.kill_at_random,
        dead=INTERRUPTED | UNKNOWN | {"WORKER_LOST"},
        most_dead=20 * VIDEOS_AT_ONCE,
        discards=20 * IMAGES_AT_ONCE,
        leases=4,
        extra_seconds=SEARCH_SECONDS,
        factor=12.5,
    ),
]
