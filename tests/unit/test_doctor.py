"""Doctor without any service: secrets, exit codes, order, the JWT secret, help."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from storyboard.api.errors import CommandError, ExitCode
from storyboard.doctor import findings as doctor_findings
from storyboard.doctor.environment import is_inside
from storyboard.doctor.findings import Finding, exit_code, failed, not_set, ok, run_checks, secrets, unreachable
from tests.doctor.fixture import Doctor, clean_doctor


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    with clean_doctor(capsys, monkeypatch) as clean:
        yield clean


async def collect(*checks: doctor_findings.Check) -> list[Finding]:
    named = [(f"check {number}", check) for number, check in enumerate(checks)]
    return [finding async for some in run_checks(named) for finding in some]


def test_where_nothing_is_set_nothing_fails(doctor: Doctor) -> None:
    result = doctor()
    assert result.code == 0
    assert {check["state"] for check in result.checks} == {"not set"}
    assert doctor.run() == 0
    assert "not set  database                   DATABASE_URL.\n" in doctor.out


def test_help_names_the_options_and_yes_needs_spend(doctor: Doctor) -> None:
    assert doctor.run("--help") == 0
    assert all(option in doctor.out for option in ("--spend", "--yes", "--json"))
    assert doctor.run("--yes") == 2


def test_secrets_are_found_in_urls_and_blotted_out(doctor: Doctor) -> None:
    doctor.set(
        DATABASE_URL="postgresql://someone:p%40ssword@db/x",
        DATABASE_LISTEN_URL="host=db user=someone password='listen-word'",
        AMQP_URL="amqp://someone:rabbit-word@mq/",
        SUPABASE_SERVICE_KEY="storage-word",
    )
    known = ["p%40ssword", "p@ssword", "listen-word", "rabbit-word", "storage-word"]
    assert set(known) <= set(secrets())

    async def careless() -> list[Finding]:
        return [failed("x", f"refused {' '.join(known)}", f"not {known[0]}")]

    [finding] = asyncio.run(collect(careless))
    assert not any(word in finding.line for word in known)


def test_a_password_that_is_the_users_name_is_no_secret(doctor: Doctor) -> None:
    doctor.set(DATABASE_URL="postgresql://postgres:postgres@db/x", AMQP_URL="amqp://guest:guest@mq/")
    assert not {"postgres", "guest"} & set(secrets())


def test_a_secret_from_a_file_is_blotted_out_too(doctor: Doctor, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("secrets") / "key"
    file.write_text("filed-word\n")
    doctor.set(GOOGLE_GENERATIVE_AI_API_KEY_FILE=str(file))
    assert "filed-word" in secrets()


def test_a_secret_file_that_is_not_there_is_said(doctor: Doctor) -> None:
    doctor.set(DATABASE_URL_FILE="/nowhere/at/all")
    result = doctor()
    assert (result.code, result.failed) == (2, ["database"])
    assert "DATABASE_URL_FILE cannot be read" in result.sentence("database")


async def test_checks_run_side_by_side_and_are_told_in_order() -> None:
    second_ran = asyncio.Event()

    async def first() -> list[Finding]:
        await second_ran.wait()
        return [ok("first", "here")]

    async def second() -> list[Finding]:
        second_ran.set()
        return [ok("second", "here")]

    assert [finding.name for finding in await collect(first, second)] == ["first", "second"]


async def test_a_check_that_hangs_or_stumbles_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_findings, "GROUP_SECONDS", 0.05)

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def stumbles() -> list[Finding]:
        raise RuntimeError("some-secret-words")

    async def refuses() -> list[Finding]:
        raise CommandError(ExitCode.USAGE, ["no such thing"])

    async def works() -> list[Finding]:
        return [ok("works", "fine")]

    told = await collect(hangs, stumbles, refuses, works)
    assert [finding.code for finding in told[:3]] == [ExitCode.UNREACHABLE, ExitCode.FAILED, ExitCode.USAGE]
    assert "no response within" in told[0].message
    assert "RuntimeError" in told[1].message
    assert "some-secret-words" not in told[1].line
    assert told[3].line == "ok       works                      fine."


def test_exit_codes() -> None:
    away, wrong = unreachable("a", "", ""), failed("b", "", "")
    assert exit_code([ok("a", ""), not_set("b", "")]) == 0
    assert exit_code([away, away]) == 3
    assert exit_code([away, wrong]) == 1


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("super-secret-jwt-token-with-at-least-32-characters-long", "a well-known default value"),
        ("a" * 64, "a well-known default value"),
        ("Sh0rt-but-not-a-word", "shorter than 32 bytes"),
    ],
)
def test_weak_jwt_secrets_fail_and_are_not_printed(doctor: Doctor, secret: str, words: str) -> None:
    doctor.hide(secret)
    doctor.set(SUPABASE_JWT_SECRET=secret)
    result = doctor()
    assert (result.code, result.failed) == (1, ["jwt secret"])
    assert words in result.sentence("jwt secret")
    assert "openssl rand" in result.sentence("jwt secret")


def test_a_strong_jwt_secret_passes_and_none_at_all_warns(doctor: Doctor) -> None:
    doctor.set(SUPABASE_JWT_SECRET="v1-0ther-9ahXee2ooPh7quaeWoo4ieng0ahPh3")
    assert doctor().state("jwt secret") == "ok"
    doctor.set(AUTH_DISABLED="true")
    assert doctor().state("jwt secret") == "warning"


@pytest.mark.parametrize("host", ["", "/run/postgresql", "localhost", "127.0.0.1", "[::1]", "10.1.2.3", "db", "x.svc"])
def test_hosts_inside(host: str) -> None:
    assert is_inside(host)


@pytest.mark.parametrize("host", ["db.example.com", "8.8.8.8", "2606:4700::1111"])
def test_hosts_outside(host: str) -> None:
    assert not is_inside(host)
