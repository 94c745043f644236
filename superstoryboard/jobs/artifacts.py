"""The hand-off from workers to the asset_writer, as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from superstoryboard.db.database import Database
from superstoryboard.db.statements import Statements
from superstoryboard.domain.errors import JobError
from superstoryboard.domain.kinds import KINDS
from superstoryboard.domain.media import MediaFacts
from superstoryboard.jobs.queue import PATIENCE_SECONDS, ClaimedJob
from superstoryboard.telemetry.logs import get_logger

NO_ENTITY = "entity not found"

log = get_logger("links")


class Sql(Statements):
    """Statements of artifacts.sql."""

    begin_artifacts: LiteralString
    stage_artifacts: LiteralString
    miss_artifact: LiteralString
    claim_artifacts: LiteralString
    extend_artifact: LiteralString
    return_artifact: LiteralString
    bury_artifact: LiteralString
    postpone_artifact: LiteralString
    note_job_error: LiteralString
    finish_job: LiteralString


@dataclass(frozen=True)
class NewArtifact:
    """Where the bytes go: first into staging, then to the final path."""

    id: UUID
    staging_key: str
    bucket: str
    path: str


@dataclass(frozen=True)
class Ending:
    """Where jobs that succeed are linked, and what becomes of their queue messages: `archive` or `delete`."""

    kv_table: str
    completion: str

    def values(self) -> dict[str, str]:
        """Values of a statement that may end a job."""
        return {"kv": self.kv_table, "completion": self.completion}


@dataclass(frozen=True)
class StagedArtifact:
    """A staged artifact that this asset_writer has leased, with what earlier writes of it met."""

    id: UUID
    job_id: UUID
    kind: str
    staging_bucket: str
    staging_key: str
    bucket: str
    path: str
    media_type: str
    size_bytes: int
    sha256: str
    write_attempt: int
    refusals: int
    doubts: int
    doubted_seconds: float | None
    uploaded: bool
    traceparent: str


class Artifacts:
    """Transitions of artifact rows; each is one function of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job: ClaimedJob, *, staging_bucket: str, results: Sequence[MediaFacts]) -> list[NewArtifact]:
        """What the results of a job are, in their order, and the final path of each. Empty for a stale claim.

        The answer of a call has its row and its staging key since the intent, and may be in staging by now; any other
        artifact gets its row here, before its bytes go up. Waits for a database that is away: the bytes are paid for.

        Raises:
            psycopg.errors.CheckViolation: more results than jobs of the kind have, or than the call has rows.
        """
        buckets = [KINDS[job.kind].bucket_of(facts.media_type.media) for facts in results]
        rows = await self._database.fetch(
            Sql.begin_artifacts,
            {
                "job": job.id,
                "claim": job.claim,
                "staging_bucket": staging_bucket,
                "results": Jsonb(
                    [
                        vars(facts)
                        | {
                            "bucket": bucket,
                            "media_type": facts.media_type.value,
                            "extension": facts.media_type.extension,
                        }
                        for bucket, facts in zip(buckets, results, strict=True)
                    ]
                ),
            },
            patience_seconds=math.inf,
        )
        if not rows:
            return []
        return [
            NewArtifact(row["artifact_id"], row["staging_key"], bucket, row["path"])
            for bucket, row in zip(buckets, rows, strict=True)
        ]

    async def stage(self, artifact_ids: Sequence[UUID], job: ClaimedJob) -> str | None:
        """The bytes of all results are in staging: hand the job over. Returns its state, or None for a stale claim.

        The answer of a call is handed over under a stale claim too, as long as no later call was opened. Waits for a
        database that is away.
        """
        row = await self._database.fetch_one(
            Sql.stage_artifacts,
            {"artifacts": list(artifact_ids), "job": job.id, "claim": job.claim},
            patience_seconds=math.inf,
        )
        return row["state"]  # type: ignore[no-any-return]  # text or null

    async def miss(
        self, artifact_id: UUID, job: ClaimedJob, *, patience_seconds: float, error: JobError
    ) -> float | None:
        """Storage says that the bytes of an earlier call are not in staging, or not what they should be.

        Returns the seconds after which to look again; 0 where it said so for the patience, and they were given up;
        None for a stale claim.
        """
        row = await self._database.fetch_one(
            Sql.miss_artifact,
            {
                "artifact": artifact_id,
                "job": job.id,
                "claim": job.claim,
                "patience": patience_seconds,
                "error": Jsonb(error.to_json()),
            },
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["seconds"]  # type: ignore[no-any-return]  # float or null

    async def claim(
        self, *, artifact_id: UUID | None, quantity: int, lease_seconds: int, min_age_seconds: float
    ) -> list[StagedArtifact]:
        """Lease one artifact by id, or up to `quantity` that have been staged for `min_age_seconds`."""
        rows = await self._database.fetch(
            Sql.claim_artifacts,
            {"artifact": artifact_id, "quantity": quantity, "lease": lease_seconds, "age": min_age_seconds},
        )
        return [StagedArtifact(**row) for row in rows]

    async def extend(self, artifact_id: UUID, lease_seconds: float) -> bool:
        """Set the lease of a staged artifact to end after this many seconds. False where it is no longer staged."""
        row = await self._database.fetch_one(
            Sql.extend_artifact,
            {"artifact": artifact_id, "lease": lease_seconds},
            patience_seconds=PATIENCE_SECONDS,
        )
        return bool(row["kept"])

    async def give_back(self, artifact_id: UUID, error: JobError, ending: Ending) -> str | None:
        """The staged bytes are gone or wrong. Returns the job's state: back in its queue, if nothing of it is left.

        Of several results this one is given up, and the job ends as `finish` says where no other is to be written.
        """
        return await self._let_go(Sql.return_artifact, artifact_id, error, ending)

    async def bury(self, artifact_id: UUID, error: JobError, ending: Ending) -> str | None:
        """A permanent write error: the job is a dead letter, the artifact is kept. Returns the job's state.

        Of several results this one is set aside until the others are written, and given up where one of them could be.
        """
        return await self._let_go(Sql.bury_artifact, artifact_id, error, ending)

    async def postpone(
        self, artifact_id: UUID, kind: str, delay_seconds: float, error: JobError, *, uploaded: bool = False
    ) -> None:
        """The write did not end: the artifact waits and the job shows why. `kind` is WAIT, REFUSED or DOUBT."""
        await self._database.fetch(
            Sql.postpone_artifact,
            {
                "artifact": artifact_id,
                "kind": kind,
                "delay": delay_seconds,
                "uploaded": uploaded,
                "error": Jsonb(error.to_json()),
            },
        )

    async def note_error(self, job_id: UUID, error: JobError, *, claim: int | None = None) -> None:
        """Show in a job what it waits for; nothing else changes. A stale claim changes nothing at all."""
        await self._database.fetch_one(
            Sql.note_job_error,
            {"job": job_id, "claim": claim, "error": Jsonb(error.to_json())},
        )

    async def finish(
        self,
        artifact_id: UUID,
        ending: Ending,
        *,
        url: str,
        url_expires_at: datetime | None = None,
        lock_timeout_seconds: float | None = None,
    ) -> tuple[str, bool]:
        """The object is in its final place; the last of a job's results ends it and links the first that is stored.

        Returns the job's state and whether this call won.

        Raises:
            RowsLockedError: another session held a row for longer than `lock_timeout_seconds`.
        """
        row = await self._database.fetch_one(
            Sql.finish_job,
            {
                "artifact": artifact_id,
                "url": url,
                "expires": url_expires_at,
                **ending.values(),
            },
            patience_seconds=PATIENCE_SECONDS,
            lock_timeout_seconds=lock_timeout_seconds,
        )
        if row["won"] and NO_ENTITY in row["notes"]:
            log.warning(
                "The asset is stored, but the key-value table has no row for its scene or character, so nothing links"
                " to it; create that row, and put the asset's URL into it or generate the asset again",
                action=NO_ENTITY,
                job_state=row["state"],
                kv_table=ending.kv_table,
            )
        return row["state"], row["won"]

    async def _let_go(self, statement: LiteralString, artifact_id: UUID, error: JobError, ending: Ending) -> str | None:
        row = await self._database.fetch_one(
            statement,
            {"artifact": artifact_id, "error": Jsonb(error.to_json()), **ending.values()},
            patience_seconds=PATIENCE_SECONDS,
        )
        return row["state"]  # type: ignore[no-any-return]  # text or null
