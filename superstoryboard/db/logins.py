"""Logins of the services: one role for each that may log in, a member of the group role which the migrations made."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import Connection, sql

SERVICES = ("ingest", "image_worker", "video_worker", "asset_writer", "sweep")
"""Services with rights of their own; the last is for pg_cron."""
PASSWORD_BYTES = 32


class LoginsError(Exception):
    """A login cannot be made; the text says why, and what to do."""


@dataclass(frozen=True)
class Login:
    """A login of a service. `password` is None where it existed before and keeps its own."""

    service: str
    name: str
    password: str | None


def group_of(service: str) -> str:
    """The group role of a service."""
    return f"superstoryboard_{service}"


def create_logins(
    connection: Connection, services: Sequence[str], *, suffix: str, new_passwords: bool = False
) -> list[Login]:
    """Make the logins that are missing, in the caller's transaction.

    The server gets SCRAM verifiers that are made here, so that no password is in its log.

    Raises:
        LoginsError: the schema is not migrated, a name is taken, or this user may not do it.
    """
    try:
        return [_create(connection, service, suffix, new_password=new_passwords) for service in services]
    except psycopg.errors.InsufficientPrivilege as error:
        groups = ", ".join(group_of(service) for service in services)
        raise LoginsError(
            f"This user may not make the logins: {error.diag.message_primary}. It needs the attribute CREATEROLE. If"
            f" another role made the group roles, let it or an administrator run: grant {groups} to"
            f" {connection.info.user} with admin option;"
        ) from error


def login_url(url: str, user: str, login: Login) -> str:
    """`url` with the name and the password of the login.

    `user` is who `url` makes the server see. Poolers with many projects have `role.project` in the URL: so has the
    result.
    """
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    options = parse_qsl(parts.query, keep_blank_values=True)
    asked = unquote(userinfo.partition(":")[0]) or dict(options).get("user", "")
    project = asked.removeprefix(user) if asked.startswith(f"{user}.") else ""
    rest = [(name, value) for name, value in options if name not in ("user", "password")]
    place = f"{quote(login.name + project, safe='')}:{quote(login.password or '', safe='')}@{hosts}"
    return urlunsplit(parts._replace(netloc=place, query=urlencode(rest, safe="/", quote_via=quote)))


def _create(connection: Connection, service: str, suffix: str, *, new_password: bool) -> Login:
    group = group_of(service)
    name = f"{group}_{suffix}"
    if not _has_rights(connection, group):
        raise LoginsError(
            f"The group role {group} is missing or has no rights in this database. Run `storyboard migrate` as the"
            " owner of the schema; if that role may not create roles, let an administrator run first:"
            f" create role {group} nologin;"
        )
    exists = _is_login_of(connection, group, name)
    password = secrets.token_urlsafe(PASSWORD_BYTES) if new_password or not exists else None
    if password is not None:
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        form = "alter role {} password {}" if exists else "create role {} login password {}"
        connection.execute(sql.SQL(form).format(sql.Identifier(name), sql.Literal(verifier)))
    if not exists:
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(name)))
        _let_connect(connection, name)
    return Login(service, name, password)


def _has_rights(connection: Connection, group: str) -> bool:
    row = connection.execute(
        "select bool_and(has_schema_privilege(r.oid, n.oid, 'usage'))"
        " from pg_roles r, pg_namespace n where r.rolname = %s and n.nspname = 'superstoryboard'",
        (group,),
    ).fetchone()
    return bool(row and row[0])


def _is_login_of(connection: Connection, group: str, name: str) -> bool:
    """True where the login exists; a role of this name that is something else is refused."""
    row = connection.execute(
        "select r.rolcanlogin and not r.rolsuper and not r.rolbypassrls and exists ("
        "select from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname = %s)"
        " from pg_roles r where r.rolname = %s",
        (group, name),
    ).fetchone()
    if row and not row[0]:
        raise LoginsError(f"The role {name} exists and is no login of {group}. Choose another name with --suffix.")
    return row is not None


def _let_connect(connection: Connection, name: str) -> None:
    """For databases that not everybody may connect to."""
    row = connection.execute(
        "select current_database(), has_database_privilege(%s, current_database(), 'connect')", (name,)
    ).fetchone()
    if row and not row[1]:
        form = sql.SQL("grant connect on database {} to {}")
        connection.execute(form.format(sql.Identifier(row[0]), sql.Identifier(name)))
