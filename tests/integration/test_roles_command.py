"""`storyboard roles create`: logins with passwords that the server never sees, and what is in the way of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from devstack.stack.postgres import Postgres
from superstoryboard.db.logins import Login, LoginsError, create_logins, login_url
from superstoryboard.db.migrate import migrate
from tests.conftest import KV_TABLE, admin
from tests.unit.cli_fixture import Cli, running_cli

SERVICES = ("ingest", "image_worker", "video_worker", "asset_writer")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        running.set(DATABASE_URL=database_url)
        yield running


def verifier_of(sql: psycopg.Connection, role: str) -> str:
    row = sql.execute("select rolpassword from pg_authid where rolname = %s", (role,)).fetchone()
    assert row is not None
    return str(row[0])


def matches(verifier: str, password: str) -> bool:
    """Whether a SCRAM verifier (RFC 5803) is that of a password."""
    _, parameters, keys = verifier.split("$")
    iterations, salt = parameters.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(keys.split(":")[0]) == stored


def test_each_service_gets_an_address_of_its_own_once(cli: Cli, sql: psycopg.Connection) -> None:
    made = cli("roles", "create", "--suffix=printed")
    assert (made.code, "not shown again" in made.err) == (0, True)
    lines = made.out.splitlines()
    assert lines[::2] == [f"# {service}" for service in SERVICES]
    for service, line in zip(SERVICES, lines[1::2], strict=True):
        url = urlsplit(line.removeprefix("DATABASE_URL="))
        assert url.username == f"superstoryboard_{service}_printed"
        assert matches(verifier_of(sql, url.username), unquote(url.password or ""))
    again = cli("roles", "create", "--suffix=printed")
    assert (again.code, again.out) == (0, "")
    assert "superstoryboard_ingest_printed exists and keeps its password" in again.err


def test_files_are_for_their_owner_alone_and_a_new_password_replaces_the_old(
    cli: Cli, sql: psycopg.Connection, tmp_path: Path, database_url: str
) -> None:
    cli.set(DATABASE_LISTEN_URL=database_url)
    folder = tmp_path / "logins"
    made = cli("roles", "create", "--suffix=files", f"--directory={folder}")
    assert (made.code, made.out) == (0, "")
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{s.replace('_', '-')}.env" for s in SERVICES)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {0o700, 0o600}
    names = ("DATABASE_URL", "DATABASE_LISTEN_URL")
    before = (folder / "ingest.env").read_text()
    assert [line.partition("=")[0] for line in before.splitlines()] == [*names]
    (folder / "ingest.env").chmod(0o644)
    renewed = cli("roles", "create", "--suffix=files", f"--directory={folder}", "--service=ingest", "--new-passwords")
    assert renewed.code == 0
    after = (folder / "ingest.env").read_text()
    assert after != before
    assert stat.S_IMODE((folder / "ingest.env").stat().st_mode) == 0o600
    password = conninfo_to_dict(after.splitlines()[0].removeprefix("DATABASE_URL="))["password"]
    assert matches(verifier_of(sql, "superstoryboard_ingest_files"), str(password))


def test_where_the_files_cannot_be_written_there_is_no_login(cli: Cli, sql: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = cli("roles", "create", "--suffix=lost", f"--directory={tmp_path / 'file'}")
    assert (made.code, "nothing was changed" in made.err) == (1, True)
    assert sql.execute("select count(*) from pg_roles where rolname like '%_lost'").fetchone() == (0,)


def test_what_is_in_the_way_is_said(cli: Cli, sql: psycopg.Connection, empty_database_url: str) -> None:
    assert cli("roles", "create", "--suffix=Not-this").code == 2
    sql.execute("create role superstoryboard_sweep_taken login superuser")
    refusal = cli("roles", "create", "--suffix=taken", "--service=sweep")
    sql.execute("drop role superstoryboard_sweep_taken")
    assert (refusal.code, "Choose another name with --suffix" in refusal.err) == (1, True)
    cli.set(DATABASE_URL=empty_database_url)
    empty = cli("roles", "create")
    assert (empty.code, "Run `storyboard migrate`" in empty.err) == (1, True)
    cli.set(DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert cli("roles", "create").code == 3
    cli.set(DATABASE_URL="")
    assert cli("roles", "create").code == 2


def test_a_user_who_may_make_no_roles_is_told_what_is_needed(sql: psycopg.Connection, database_url: str) -> None:
    sql.execute("create role roles_plain login")
    try:
        with (
            psycopg.connect(make_conninfo(database_url, user="roles_plain")) as connection,
            pytest.raises(LoginsError, match="CREATEROLE"),
        ):
            create_logins(connection, ["ingest"], suffix="plain")
    finally:
        sql.execute("drop role roles_plain")


def test_an_owner_who_is_no_superuser_makes_group_roles_and_logins(postgres: Postgres) -> None:
    """As on hosted Supabase: nothing but CREATEROLE, which makes the roles here as nobody did before."""
    for service in (*SERVICES, "sweep"):
        admin(postgres, f"alter role superstoryboard_{service} rename to hidden_{service}")
    admin(postgres, "create role roles_owner login createrole")
    admin(postgres, "grant anon, authenticated, service_role to roles_owner")
    admin(postgres, "create database roles_of_owner owner roles_owner")
    url = make_conninfo(postgres.url_of("roles_of_owner"), user="roles_owner")
    try:
        migrate(url, kv_table=KV_TABLE)
        with psycopg.connect(url) as connection:
            logins = create_logins(connection, SERVICES, suffix="hosted")
        with psycopg.connect(url) as connection:
            assert {each.password for each in create_logins(connection, SERVICES, suffix="hosted")} == {None}
        own = make_conninfo(url, user=logins[0].name, password=logins[0].password)
        with psycopg.connect(own, autocommit=True) as connection:
            assert connection.execute("select count(*) from superstoryboard.jobs").fetchone() == (0,)
            connection.execute("select superstoryboard.queue_status_v1()")
    finally:
        admin(postgres, "drop database roles_of_owner with (force)")
        for service in (*SERVICES, "sweep"):
            admin(postgres, f"drop role if exists superstoryboard_{service}_hosted, superstoryboard_{service}")
            admin(postgres, f"alter role hidden_{service} rename to superstoryboard_{service}")
        admin(postgres, "drop role roles_owner")


@pytest.mark.parametrize(
    ("url", "user", "expected"),
    [
        (
            "postgresql://postgres.ref:x%40y@pooler:6543/postgres?sslmode=verify-full&sslrootcert=/a/b.crt",
            "postgres",
            "postgresql://in.ref:p@pooler:6543/postgres?sslmode=verify-full&sslrootcert=/a/b.crt",
        ),
        ("postgresql://app:x@one:1,two:2/db", "app", "postgresql://in:p@one:1,two:2/db"),
        ("postgresql://a.b:x@h/db", "a.b", "postgresql://in:p@h/db"),
        ("postgresql:///db?host=/run&user=me&password=x", "me", "postgresql://in:p@/db?host=/run"),
        ("postgresql://h/db", "me", "postgresql://in:p@h/db"),
    ],
)
def test_the_address_of_a_login_is_that_of_the_owner_with_another_user(url: str, user: str, expected: str) -> None:
    assert login_url(url, user, Login("ingest", "in", "p")) == expected
