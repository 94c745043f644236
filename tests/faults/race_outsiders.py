"""Outsiders and time in the race: whoever has only SQL removes, hides and locks; leases run out, uploads grow old."""

from __future__ import annotations

from typing import LiteralString

from tests.faults.race_hands import Hands, Outcome
from tests.integration.helpers import IMAGE_QUEUE, VIDEO_QUEUE, expire_lease

SEEN: dict[str, LiteralString] = {
    IMAGE_QUEUE: "select msg_id from pgmq.image_generation_queue",
    VIDEO_QUEUE: "select msg_id from pgmq.video_generation_queue",
}
"""What whoever has only SQL sees of the queues."""

LOCKED: dict[str, LiteralString] = {
    name: f"""
        with message as (select msg_id from {table} order by random() limit 2 for update skip locked),
        job as (
          select id from superstoryboard.jobs where queue = %(queue)s and ended_at is null
          order by random() limit 2 for update skip locked
        ),
        turn as (
          select job from superstoryboard.turns where queue = %(queue)s order by random() limit 2 for update skip locked
        )
        select pg_sleep(0.02), (select count(*) from message) + (select count(*) from job) + (select count(*) from turn)
    """
    for name, table in (
        (IMAGE_QUEUE, "pgmq.q_image_generation_queue"),
        (VIDEO_QUEUE, "pgmq.q_video_generation_queue"),
    )
}
"""Locks that somebody from outside takes, in whatever order, without ever waiting for one."""


class Outsiders(Hands):
    """Who keeps to none of the rules."""

    async def remove(self) -> Outcome:
        """A message goes by hand, one way or the other."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        messages = await self.by_hand.fetch(SEEN[queue])
        if not messages:
            return False
        values = {"queue": queue, "id": self.chance.choice(messages)["msg_id"]}
        if self.chance.random() < 0.5:
            rows = await self.by_hand.fetch("select public.pgmq_delete(%(queue)s, %(id)s) as gone", values)
        else:
            rows = await self.by_hand.fetch("select public.pgmq_archive(%(queue)s, %(id)s) as gone", values)
        return bool(rows[0]["gone"])

    async def preview(self) -> Outcome:
        """Somebody looks at messages and so hides them from others who look."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        return bool(await self.database.fetch("select msg_id from pgmq.read(%(queue)s, 600, 10)", {"queue": queue}))

    async def move_visibility(self) -> Outcome:
        """Somebody shows or hides a message."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        messages = await self.database.fetch(SEEN[queue])
        if not messages:
            return False
        values = {"queue": queue, "id": self.chance.choice(messages)["msg_id"], "seconds": self.chance.choice((0, 600))}
        moved = "select msg_id from pgmq.set_vt(%(queue)s, %(id)s::bigint, %(seconds)s::int)"
        return bool(await self.database.fetch(moved, values))

    async def hold_locks(self) -> Outcome:
        """Somebody keeps messages, jobs and turns locked for a moment."""
        queue = self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE))
        locked = await self.database.fetch(LOCKED[queue], {"queue": queue})
        return bool(locked)

    async def expire(self) -> Outcome:
        """As if leases of messages and of artifacts had run out."""
        await expire_lease(self.database, self.chance.choice((IMAGE_QUEUE, VIDEO_QUEUE)))
        await self.database.fetch("update superstoryboard.artifacts set lease_until = null where state = 'STAGED'")
        return True

    async def age(self) -> Outcome:
        """As if what is being uploaded had been so for hours."""
        aged = await self.database.fetch(
            "update superstoryboard.artifacts set created_at = created_at - interval '2 hours'"
            " where state = 'UPLOADING' returning id"
        )
        return bool(aged)
