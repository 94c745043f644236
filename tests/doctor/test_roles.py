"""What doctor says about database logins: one for all, one for each service, and what others may."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from superstoryboard.db.logins import create_logins
from tests.doctor.fixture import Doctor

LOGINS = "database logins"


def test_one_login_for_all_is_fine_and_is_said(doctor: Doctor, database_url: str) -> None:
    doctor.set(DATABASE_URL=database_url)
    result = doctor()
    assert (result.code, result.state(LOGINS)) == (0, "ok")
    assert "only row-level security and functions hold rights" in result.sentence(LOGINS)
    assert "storyboard roles create" in result.sentence(LOGINS)


@pytest.mark.parametrize("service", ["ingest", "image_worker", "video_worker", "asset_writer"])
def test_a_services_own_login_is_recognized(
    doctor: Doctor, database_url: str, sql: psycopg.Connection, service: str
) -> None:
    create_logins(sql, [service], suffix="doctor")
    own = f"postgresql://superstoryboard_{service}_doctor@{database_url.partition('@')[2]}"
    doctor.set(DATABASE_URL=own, DATABASE_LISTEN_URL=own)
    result = doctor()
    assert (result.code, result.failed) == (0, [])
    assert f"the rights of superstoryboard_{service} only" in result.sentence(LOGINS)
    assert result.sentence("migrations").startswith("all ")


def test_a_login_without_rights_is_told_what_to_use(doctor: Doctor, database_url: str, sql: psycopg.Connection) -> None:
    sql.execute("create role doctor_nobody login")
    doctor.set(DATABASE_URL=make_conninfo(database_url, user="doctor_nobody"))
    result = doctor()
    sql.execute("drop role doctor_nobody")
    assert result.code == 1
    assert "storyboard roles create" in result.sentence("rights of this user")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("alter table superstoryboard.jobs disable row level security", ("failed", "no row-level security on jobs")),
        (
            "alter table pgmq.q_image_generation_queue disable row level security",
            ("failed", "q_image_generation_queue"),
        ),
        ("grant execute on function superstoryboard.sweep to anon", ("failed", "may call sweep")),
        ("grant create on schema public to public", ("warning", "anon and authenticated may create functions")),
    ],
)
def test_what_is_open_is_named(
    doctor: Doctor, database_url: str, sql: psycopg.Connection, statement: str, said: tuple[str, str]
) -> None:
    sql.execute(statement.encode())
    doctor.set(DATABASE_URL=database_url)
    result = doctor()
    assert result.state(LOGINS) == said[0]
    assert said[1] in result.sentence(LOGINS)
