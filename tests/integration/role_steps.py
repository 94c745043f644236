"""Logins of the services, and what each role may do: a literal list, beside which the migrations are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from superstoryboard.db.logins import SERVICES, create_logins, group_of

STRANGER = "roles_stranger"
TOKENS = {"note_service_tokens_v1"}
WORKER = TOKENS | {
    *("claim_jobs_v1", "extend_leases_v1", "holds_lease_v1", "release_job_v1", "retry_job_v1", "fail_job_v1"),
    *("freeze_generation_v1", "report_progress_v1", "note_job_error_v1", "close_gate_v1", "open_call_v1"),
    *("keep_name_v1", "lose_call_v1", "settle_call_v1", "revive_job_v1", "job_may_use_source_v1"),
    *("begin_artifacts_v1", "stage_artifacts_v1", "miss_artifact_v1", "queue_status_v1", "serves"),
}
MAY_CALL: dict[str, set[str]] = {
    "ingest": TOKENS
    | {
        *("accept_jobs_v1", "cancel_job_v1", "redrive_job_v1", "redrive_dead_letters_v1", "discard_dead_letters_v1"),
        *("pause_queue_v1", "storyboard_v1", "share_storyboard_v1", "transfer_storyboard_v1", "full_name"),
        *("set_owner_rules_v1", "may_read", "shown_document", "sweep_duties_v1", "sweep_duty_v1", "queue_status_v1"),
        *("record_operation_v1", "hold_event_feed_v1", "advance_event_feed_v1", "release_event_feed_v1"),
        *("create_service_token_v1", "revoke_service_token_v1"),
    },
    "image_worker": WORKER,
    "video_worker": WORKER | {"unclaimed_operations_v1", "search_for_call_v1", "end_search_v1", "note_lost_answer_v1"},
    "asset_writer": TOKENS
    | {
        *("claim_artifacts_v1", "extend_artifact_v1", "return_artifact_v1", "bury_artifact_v1", "postpone_artifact_v1"),
        *("note_job_error_v1", "finish_job_v1", "claim_cleanups_v1", "end_cleanups_v1"),
    },
    "sweep": {"sweep", "wake"},
}
MAY_READ: dict[str, set[str]] = {
    "ingest": {
        *("job_records", "dead_letters", "jobs", "assets", "provider_calls", "job_events", "event_log", "gates"),
        *("service_tokens", "queues", "schema_migrations"),
    },
    # Of jobs and tokens a few columns: reading a whole row is refused.
    "image_worker": {"schema_migrations"},
    "video_worker": {"schema_migrations"},
    "asset_writer": {"schema_migrations"},
    "sweep": set(),
}
_OF_TOKENS = {"service_tokens.kept_tokens", "service_tokens.note_tokens"}
_OF_WORKERS = _OF_TOKENS | {
    "store.queue_status",
    *(f"queue.{name}" for name in ("claim_jobs", "model_of_job", "close_gate", "extend_leases", "holds_lease")),
    *(f"queue.{name}" for name in ("release_job", "retry_job", "fail_job", "freeze_generation", "report_progress")),
    "queue.may_use_source",
    *(f"ledger.{name}" for name in ("open_call", "keep_name", "lose_call", "settle_call", "revive_job")),
    *(f"artifacts.{name}" for name in ("begin_artifacts", "stage_artifacts", "miss_artifact", "note_job_error")),
}
# Statements of superstoryboard/jobs that each service runs.
STATEMENTS: dict[str, set[str]] = {
    "ingest": _OF_TOKENS
    | {
        *(f"store.{name}" for name in ("accept_jobs", "jobs_by_id", "visible_ids", "readable_storyboards")),
        *(f"store.{name}" for name in ("search_jobs", "queue_status", "closed_gates")),
        *(f"events.{name}" for name in ("pruned_sequence", "is_complete", "selected_events")),
        *(f"event_feed.{name}" for name in ("sequences_after", "newest_sequence", "writers")),
        *(f"feeds.{name}" for name in ("hold_event_feed", "advance_event_feed", "release_event_feed")),
        *("feeds.events_with_kind", "recent_events.events_between"),
        *(f"steering.{name}" for name in ("cancel_job", "redrive_job", "redrive_dead_letters")),
        *(f"steering.{name}" for name in ("discard_dead_letters", "pause_queue", "dead_letters")),
        *(f"storyboards.{name}" for name in ("set_owner_rules", "storyboard", "share_storyboard")),
        *("storyboards.transfer_storyboard", "sweeps.sweep_duties", "sweeps.sweep_duty"),
        *(f"service_tokens.{name}" for name in ("list_tokens", "create_token", "revoke_token")),
        *("lost_operations.call_to_name", "lost_operations.record_operation"),
    },
    "image_worker": _OF_WORKERS,
    "video_worker": _OF_WORKERS
    | {
        f"lost_operations.{name}"
        for name in ("unclaimed_operations", "search_for_call", "end_search", "note_lost_answer")
    },
    "asset_writer": _OF_TOKENS
    | {
        *(f"artifacts.{name}" for name in ("claim_artifacts", "extend_artifact", "return_artifact", "bury_artifact")),
        *(f"artifacts.{name}" for name in ("postpone_artifact", "note_job_error", "finish_job")),
        *("cleanups.claim_cleanups", "cleanups.end_cleanups"),
    },
}
# Statements of the commands that change the database themselves, with the owner's login.
OF_THE_OWNER = {
    *(f"quotas.{name}" for name in ("list_quotas", "list_weights", "set_quota", "unset_quota")),
    *(f"quotas.{name}" for name in ("set_weight", "unset_weight", "uses_of_owner")),
}
OTHERS = ("anon", "authenticated", "service_role", STRANGER)


def make_roles(url: str) -> None:
    """A login for each service, and one of somebody else."""
    with psycopg.connect(url) as connection:
        create_logins(connection, SERVICES, suffix="login")
        connection.execute(
            f"do $$ begin create role {STRANGER} login; exception when duplicate_object then null; end $$".encode()
        )


@contextmanager
def acting_as(url: str, role: str) -> Iterator[psycopg.Connection]:
    """A session of a service's own login, of the stranger, or of a role of Supabase as PostgREST has it."""
    if role in SERVICES or role == STRANGER:
        user = role if role == STRANGER else f"{group_of(role)}_login"
        with psycopg.connect(make_conninfo(url, user=user, password=""), autocommit=True) as connection:
            yield connection
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
        yield connection


def may_call(connection: psycopg.Connection, name: str, call: str) -> bool:
    """Whether a function may be called. Any error from within it says so too."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(call.encode())
    except psycopg.Error as error:
        return not any(f"permission denied for {what}" in str(error) for what in (f"function {name}", "schema supers"))
    return True


def refusal(connection: psycopg.Connection, statement: str) -> str | None:
    """SQLSTATE with which a statement is refused; None where it is done. What it does is undone."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None
