"""Answers of Google and Storage that the rows script, and how it shows from outside that they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.emulators.storage_fixture import STAGING_BUCKET
from tests.faults.outside import google_rows, staged_job, statuses_of, storage_rows
from tests.faults.strikes import HELD_SECONDS
from tests.faults.world import IMAGES_AT_ONCE, World

OFTEN = 1_000_000
KILLS = 4
NOT_FOUND = {"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}}
ODD_CONTENT = {"role": "model", "parts": [{"pictureReference": {"id": "p1"}}]}
ODD_CANDIDATE = {"content": ODD_CONTENT, "finishReason": "STOP", "index": 0}
ODD_IMAGES: tuple[object, ...] = ({"candidates": [ODD_CANDIDATE]}, [{"pictures": []}], "<html>Welcome</html>")
ODD_RESPONSE = {"@type": "type.googleapis.com/NewVideoResponse", "clips": [{"id": "c1"}]}
ODD_OPERATION = {"done": True, "response": ODD_RESPONSE}
PAGE: dict[str, Any] = {"status": 200, "body": "<html><body>Please log in</body></html>", "content_type": "text/html"}


def refusal(status: int, error: str, message: str) -> dict[str, Any]:
    """An error as Storage words it: HTTP 400 with the status inside."""
    return {"status": 400, "body": {"statusCode": str(status), "error": error, "message": message}}


TOO_LARGE = refusal(413, "Payload too large", "The object exceeded the maximum allowed size")
WRONG_TYPE = refusal(415, "invalid_mime_type", "mime type application/octet-stream is not supported")
FORBIDDEN = refusal(403, "Unauthorized", "new row violates row-level security policy")


def storage(world: World, **answer: object) -> None:
    """Script uploads, or what `on` names."""
    world.running.script_storage({"on": "upload", "times": 10} | answer)


def google(world: World, on: str, **answer: object) -> None:
    """Script requests of one sort."""
    world.running.script({"on": on, "times": 5} | answer)


def google_gives(on: str, *statuses: int | None) -> Callable[[World], int]:
    """How many requests of this sort were answered so; None is a connection that broke."""

    def count(world: World) -> int:
        return statuses_of(google_rows(world.running), on, statuses)

    return count


def storage_gives(on: str, *statuses: int) -> Callable[[World], int]:
    """How many requests of this sort were answered so; 0 is a connection that broke."""

    def count(world: World) -> int:
        return statuses_of(storage_rows(world.running), on, statuses)

    return count


def staged_reads(world: World) -> int:
    """Reads of staging: the first of them met the scripted answers."""
    rows = [row for row in storage_rows(world.running) if row["on"] == "download" and STAGING_BUCKET in row["path"]]
    return len(rows)


def odd_images(world: World) -> None:
    """Accepted image calls are answered in shapes that nobody knows."""
    for body in ODD_IMAGES:
        google(world, on="image", status=200, body=body, times=1)


def odd_answers(world: World) -> int:
    """Accepted image calls that were answered without a picture."""
    return statuses_of([row for row in google_rows(world.running) if "sha256" not in row], "image", (200,))


def unnamed_submits(world: World) -> int:
    """Submits whose operation the answer did not name; the script takes the first."""
    return min(1, len([row for row in google_rows(world.running) if row["on"] == "submit" and row["accepted"]]))


def polls(world: World) -> int:
    """Polls; the script takes the first."""
    return min(1, len([row for row in google_rows(world.running) if row["on"] == "poll"]))


def refuse_staging(world: World, answer: dict[str, Any]) -> None:
    """Staging refuses every upload for good."""
    storage(world, path_contains=STAGING_BUCKET, times=OFTEN, **answer)


def mend_staging(world: World) -> None:
    """Somebody mends staging after a while."""
    world.wait_until(lambda: storage_gives("upload", 400)(world) > 0, "an upload that staging refuses")
    world.wait(HELD_SECONDS)
    world.struck += storage_gives("upload", 400)(world)
    world.mend_storage()


def kill_while_staging_is_away(world: World) -> None:
    """The image worker is killed more often than a job has attempts: first with pictures that staging does not take.

    Those, one for each place of the worker, are all that may be lost. The later workers prove staging in vain and may
    not ask for any picture, although jobs wait and all leases have ended.
    """

    def refused() -> list[str]:
        rows = storage_rows(world.running)
        return [row["path"] for row in rows if (row["on"], row["status"]) == ("upload", 503)]

    def held() -> int:
        images = "select id::text from superstoryboard.jobs where storyboard_id = %s and kind = 'image'"
        jobs = {row[0] for row in world.running.sql.execute(images, (world.row,)).fetchall()}
        return len({staged_job(path) for path in refused()} & jobs)

    def asked_for() -> int:
        return sum(row["on"] == "image" for row in google_rows(world.running))

    world.wait_until(lambda: held() == IMAGES_AT_ONCE, "a picture in each place that staging does not take")
    before = asked_for()
    for _ in range(KILLS):
        world.struck += 1
        world.kill("image_worker")
        world.end_leases("j.kind = 'image'")
        tries = len(refused())
        world.wait_until(lambda tries=tries: len(refused()) >= tries + 2, "tries of the new worker")  # type: ignore[misc]
    if asked_for() > before:
        world.wrong.append(f"{asked_for() - before} pictures asked for while staging is away")
    world.mend_storage()


def fail_rescues(world: World) -> None:
    """Storage cannot answer the first read of any bytes that wait for their rescue."""
    waiting = "select staging_key from superstoryboard.artifacts where state = 'UPLOADING'"
    for (key,) in world.running.sql.execute(waiting).fetchall():
        storage(world, on="download", path_contains=key, status=503, times=1)
        storage(world, on="info", path_contains=key, status=503, times=1)
