"""Broken variants: for each invariant one line is broken on purpose, and a row of the matrix must go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Variant:
    """What is broken, the invariant (or the line of SPEC) that it breaks, and the row, or the race, that must show it.

    It is the `line` of a `function` of the database, or the break of tests.faults.broken that `python` names.
    """

    invariant: str
    name: str
    row: str
    function: str = ""
    line: str = ""
    instead: str = ""
    python: str = ""

    def apply(self, sql: psycopg.Connection) -> None:
        """Replace the one line in the database.

        Raises:
            LookupError: the function does not hold the line, or holds it more than once.
        """
        if self.function:
            change(sql, self.function, self.line, self.instead)


def change(sql: psycopg.Connection, function: str, line: str, instead: str) -> None:
    """Replace a part of a function of the database.

    Raises:
        LookupError: the function does not hold the part, or holds it more than once.
    """
    record = sql.execute(
        "select pg_get_functiondef(p.oid) from pg_proc p"
        " where p.pronamespace = 'superstoryboard'::regnamespace and p.proname = %s",
        (function,),
    ).fetchone()
    if record is None or record[0].count(line) != 1:
        raise LookupError(f"{function} does not hold once: {line}")
    sql.execute(record[0].replace(line, instead))


RACE = "all transitions at once"
"""Instead of a row: the race on the database alone."""

VARIANTS = [
    Variant(
        "I1",
        "a job whose worker died is left to it",
        "kill -9 image_worker at claimed",
        function="recover_leases",
        line="t.lease_until <= present limit p_limit",
        instead="false limit p_limit",
    ),
    Variant(
        "I2",
        "a submit that was broken off counts as never sent",
        "Google breaks off a submit after it accepted",
        python="pay_again",
    ),
    Variant(
        "I3",
        "a job succeeds without its link",
        "no fault",
        function="patch_entity",
        line="where key = $1 and value is distinct from $2",
        instead="where key = $1 and value = $2",
    ),
    Variant(
        "I4",
        "whoever held a job before can still give it back",
        RACE,
        function="lock_claimed",
        line=" or job.claim <> p_claim",
        instead="",
    ),
    Variant(
        "I5",
        "a request_id is not looked at",
        "kill -9 ingest at accepted-job",
        function="insert_job",
        line="p_item ->> 'request_id', p_item ->> 'submit_hash',",
        instead="null, p_item ->> 'submit_hash',",
    ),
    Variant(
        "I6",
        "the result that comes last is shown",
        "no fault",
        function="take_entity",
        line="where (l.rank, l.job_id) <= (excluded.rank, excluded.job_id);",
        instead="where true;",
    ),
    Variant(
        "I7",
        "a rate limit spends an attempt",
        "Google answers 429",
        function="retry_job_v1",
        line="case when p_spend then 0 else superstoryboard.attempt_to_give_back(j) end",
        instead="0",
    ),
    Variant("I8", "a database that is away ends the process", "Postgres restarts", python="give_up"),
    Variant(
        "I9",
        "a finished job leaves its message",
        "no fault",
        function="succeed",
        line="perform superstoryboard.complete_message(job.queue, job.msg_id, p_completion);",
        instead="perform pgmq.set_vt(job.queue, job.msg_id, 600);",
    ),
    Variant("I10", "whoever asks for a job gets it", "no fault", python="show_everyone"),
    Variant("I3", "nothing is written to its final place", "no fault", python="skip_final_upload"),
    Variant(
        "I2",
        "staged bytes of a dead worker are not looked for",
        "kill -9 image_worker at staged-bytes",
        python="rescue_nothing",
    ),
    Variant(
        "G1",
        "pictures are asked for while staging is away",
        "kill -9 image_worker while staging is away",
        python="trust_staging",
    ),
    Variant("G1", "a good answer is thrown away once", "no fault", python="throw_away_once"),
    Variant(
        "G1",
        "leases are not extended",
        "answers take longer than a lease, two workers",
        python="stop_heartbeat",
    ),
]
