"""The database: reachable, PGMQ, migrations, rights, the kv table, LISTEN."""

from __future__ import annotations

import re
from typing import get_args

from storyboard.api.errors import ExitCode
from storyboard.api.settings import DEFAULT_KV_TABLE, secret
from storyboard.doctor.environment import flag, is_inside, value
from storyboard.doctor.findings import Finding, failed, not_set, ok, unreachable, warning
from storyboard.doctor.roles import roles_finding
from superstoryboard.config.settings import Identifier
from superstoryboard.inspection.database import (
    GrantFacts,
    Inspection,
    KvFacts,
    MigrationFacts,
    PgmqFacts,
    ServerFacts,
    inspect,
)
from superstoryboard.inspection.database_problems import InspectionError, Problem

OLDEST_VERSION = 150000
NAMED_AT_MOST = 3
WRITING = ("insert", "update", "delete", "truncate")
MIGRATE = "Run `storyboard migrate`."
CHECKED_MODES = ("verify-ca", "verify-full")
MENDS = {
    Problem.URL: "Write {setting} as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of the password"
    " percent-encoded.",
    Problem.UNREACHABLE: "Check host and port of {setting}, and that the database runs and accepts connections"
    " from this machine.",
    Problem.PASSWORD: "Correct the user and password in {setting}.",
    Problem.DATABASE: "Correct the database name at the end of {setting}, or create that database.",
    Problem.TLS: "Check sslmode and sslrootcert in {setting}: the server's certificate must match them.",
    Problem.RIGHTS: "Use the owner of the schema in {setting} or a login that `storyboard roles create` made, or let"
    " an administrator grant the right.",
    Problem.REFUSED: "Check the server's log, and raise max_connections if connections are exhausted.",
}


async def check_database() -> list[Finding]:
    """Everything that needs DATABASE_URL."""
    url = secret("DATABASE_URL")
    if not url:
        return [not_set("database", "DATABASE_URL")]
    findings: list[Finding] = []
    try:
        async with inspect(url) as inspection:
            facts = await inspection.server()
            findings.append(_server(facts))
            await _look_inside(inspection, findings)
            findings.append(await _listen(inspection, facts))
    except InspectionError as error:
        findings.append(_problem("database" if not findings else "rights of this user", error, "DATABASE_URL"))
    return findings


async def _look_inside(inspection: Inspection, findings: list[Finding]) -> None:
    roles = await inspection.roles()
    # A service's own login cannot look into the schema of PGMQ.
    is_service = roles.owner is False and bool(roles.member_of)
    if not is_service:
        findings.append(_pgmq(await inspection.pgmq()))
    migrations = await inspection.migrations()
    findings.append(_migrations(migrations))
    if migrations.applied:
        findings.append(roles_finding(roles))
    if is_service:
        return
    if migrations.applied:
        findings.append(_queues(await inspection.queues()))
        anon_may_send = flag("ANON_MAY_SEND")
        findings.append(_grants(await inspection.grants(anon_may_send=anon_may_send), anon_may_send=anon_may_send))
    findings.append(await _kv_table(inspection, value("KV_TABLE", DEFAULT_KV_TABLE)))


def _server(facts: ServerFacts) -> Finding:
    way = "direct connection"
    if facts.pooled:
        way = "through a transaction pooler" if facts.transaction_pooled else "through a session pooler"
    checked = "certificate checked" if facts.sslmode in CHECKED_MODES else "certificate not checked"
    tls = f"TLS, {checked} (sslmode={facts.sslmode})" if facts.tls else "without TLS"
    text = f"PostgreSQL {facts.version} as {facts.user}, {tls}, {way}"
    if facts.version_number < OLDEST_VERSION:
        return warning("database", text, "Use PostgreSQL 15 or newer: this version is not tested.")
    if not facts.tls and not is_inside(facts.host):
        return warning(
            "database",
            text,
            "Add sslmode=require (better verify-full) to DATABASE_URL: passwords are sent in plain text.",
        )
    return ok("database", text)


def _pgmq(facts: PgmqFacts) -> Finding:
    if not facts.installed:
        if facts.available:
            return failed("pgmq", "the database has no pgmq, but the server offers the extension", MIGRATE)
        action = (
            "Run `storyboard migrate`, which installs it from SQL; on Supabase, enable Integrations > Queues first."
        )
        return failed("pgmq", "the database has no pgmq", action)
    form = "an extension" if facts.extension else "installed as plain SQL"
    if facts.missing:
        action = "Upgrade PGMQ to 1.4.4 or newer (`alter extension pgmq update`)."
        return failed("pgmq", f"{form}; missing functions: pgmq.{', pgmq.'.join(facts.missing)}", action)
    return ok("pgmq", f"{form}, with all required functions")


def _migrations(facts: MigrationFacts) -> Finding:
    if facts.changed:
        action = "Restore the files as they were applied (see git), and put changes into new migrations."
        return failed("migrations", f"changed since they were applied: {_some(facts.changed)}", action)
    if facts.pending and not facts.applied:
        return failed("migrations", f"none of {len(facts.pending)} is applied", MIGRATE)
    if facts.pending:
        return failed(
            "migrations", f"{facts.applied} applied, {len(facts.pending)} pending: {_some(facts.pending)}", MIGRATE
        )
    if facts.unknown:
        action = "Update this program: the database has newer migrations."
        return warning("migrations", f"applied, but not in this program: {_some(facts.unknown)}", action)
    return ok("migrations", f"all {facts.applied} applied")


def _queues(queues: dict[str, bool]) -> Finding:
    missing = [name for name, present in queues.items() if not present]
    if missing:
        action = " ".join(f"select pgmq.create('{name}');" for name in missing)
        return failed("queues", f"PGMQ has no {' and no '.join(missing)}", f"Create them by SQL: {action}")
    return ok("queues", " and ".join(queues))


def _grants(facts: GrantFacts, *, anon_may_send: bool) -> Finding:
    if facts.missing_roles or facts.missing_functions:
        missing = [*facts.missing_roles, *(f"public.{signature}" for signature in facts.missing_functions)]
        action = "Create the missing roles and functions, or migrate a new database."
        return failed("roles and rights", f"missing: {', '.join(missing)}", action)
    if facts.excess:
        statements = [f"revoke execute on function public.{what} from {role}, public;" for role, what in facts.excess]
        return failed("roles and rights", _rights_text("may, but must not, call", facts.excess), _by_sql(statements))
    if facts.lacking:
        statements = [f"grant execute on function public.{what} to {role};" for role, what in facts.lacking]
        return failed("roles and rights", _rights_text("may not call", facts.lacking), _by_sql(statements))
    senders = "anon, authenticated and service_role" if anon_may_send else "authenticated and service_role"
    return ok("roles and rights", f"{senders} send; only service_role reads, deletes and archives")


async def _kv_table(inspection: Inspection, name: str) -> Finding:
    # The rule is that of the services' own setting.
    rule = next(each.pattern for each in get_args(Identifier)[1].metadata if hasattr(each, "pattern"))
    if not re.fullmatch(rule.strip("^$"), name):
        action = "Name a table, with or without its schema: letters, digits and underscores."
        return failed("kv table", "KV_TABLE is not a valid table name", action, ExitCode.USAGE)
    return _kv(name, await inspection.kv_table(name))


def _kv(name: str, facts: KvFacts) -> Finding:
    if not facts.exists:
        return failed(
            "kv table", f"{name} is missing", "Run `storyboard migrate`, which creates it, or correct KV_TABLE."
        )
    shown = ", ".join(f"{column} {facts.columns.get(column, 'missing')}" for column in ("key", "value"))
    if facts.columns.get("value") != "jsonb" or not facts.columns.get("key", "").startswith(
        ("text", "character varying")
    ):
        action = "Point KV_TABLE at a table (key text primary key, value jsonb); an existing one is never altered."
        return failed("kv table", f"{name} has {shown}", action)
    if not facts.unique_key:
        action = f"Make its key unique: alter table {name} add primary key (key);"
        return failed("kv table", f"{name} has no unique key", action)
    return _kv_access(name, facts) or ok("kv table", f"{name} ({shown})")


def _kv_access(name: str, facts: KvFacts) -> Finding | None:
    """A warning where whoever holds the publishable key may come at the rows, or only one thing keeps them out."""
    enable = f"alter table {name} enable row level security;"
    revoke = f"revoke all on table {name} from public, {', '.join(role for role, _ in facts.held)};"
    held = " and ".join(f"{role} may {rights}" for role, rights in facts.held)
    if any(verb in rights for _, rights in facts.held for verb in WRITING):
        held += ", so that the owners of storyboards that it names prove nothing"
    if facts.held and not facts.row_security:
        problem = f"{name} can be accessed with the publishable key: row-level security is off, and {held}"
        return warning("kv table", problem, _by_sql([enable, revoke]))
    if facts.held:
        action = f"If no browser needs access, fix by SQL: {revoke}"
        return warning("kv table", f"only row-level security protects {name}: {held}", action)
    if not facts.row_security:
        return warning("kv table", f"row-level security of {name} is off: a grant would open it", _by_sql([enable]))
    return None


async def _listen(inspection: Inspection, facts: ServerFacts) -> Finding:
    url = secret("DATABASE_LISTEN_URL")
    if not url:
        return not_set("listen", "DATABASE_LISTEN_URL, so processes poll")
    try:
        async with inspect(url) as listener:
            if problem := _cannot_listen(await listener.server(), facts):
                return problem
            if not await listener.hears(inspection):
                action = "Set DATABASE_LISTEN_URL to a direct connection, or leave it empty: processes then poll."
                return unreachable("listen", "a notification did not arrive", action)
    except InspectionError as error:
        return _problem("listen", error, "DATABASE_LISTEN_URL")
    return ok("listen", "a notification sent over DATABASE_URL arrived")


def _cannot_listen(listening: ServerFacts, main: ServerFacts) -> Finding | None:
    """Why no notification of the main connection can arrive over the other."""
    if listening.transaction_pooled:
        problem = "DATABASE_LISTEN_URL goes through a transaction pooler, which does not support LISTEN"
        action = "Set it to the direct connection (at Supabase port 5432), or leave it empty: processes then poll."
        return failed("listen", problem, action)
    if listening.server != main.server:
        action = "Set it to a direct connection to the database of DATABASE_URL."
        return failed("listen", "DATABASE_LISTEN_URL and DATABASE_URL name different databases", action)
    return None


def _problem(name: str, error: InspectionError, setting: str) -> Finding:
    action = MENDS[error.problem].format(setting=setting)
    codes = {Problem.UNREACHABLE: ExitCode.UNREACHABLE, Problem.URL: ExitCode.USAGE}
    return failed(name, str(error), action, codes.get(error.problem, ExitCode.FAILED))


def _rights_text(words: str, pairs: tuple[tuple[str, str], ...]) -> str:
    return "; ".join(f"{role} {words} public.{signature}" for role, signature in pairs)


def _by_sql(statements: list[str]) -> str:
    return f"Fix by SQL: {' '.join(statements)}"


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
