"""Who holds the rights in the database: one login for all services, or one for each."""

from __future__ import annotations

from storyboard.doctor.findings import Finding, failed, ok, warning
from superstoryboard.inspection.roles import RoleFacts

NAME = "database logins"


def roles_finding(facts: RoleFacts) -> Finding:
    """What the login of DATABASE_URL may do, and what others may that must not."""
    if facts.open_tables or facts.open_functions:
        what = [f"no row-level security on {', '.join(facts.open_tables)}"] if facts.open_tables else []
        if facts.open_functions:
            what.append(f"anon, authenticated or everybody may call {', '.join(facts.open_functions)}")
        return failed(NAME, "; ".join(what), "Run `storyboard migrate` again: it restores these rights.")
    if facts.creators:
        names = " and ".join(facts.creators)
        action = "Fix by SQL: revoke create on schema public from public, anon, authenticated;"
        return warning(
            NAME, f"{names} may create functions in schema public, which services could call unawares", action
        )
    if not facts.owner and not facts.member_of:
        action = "Use a login that `storyboard roles create` made, or the owner of the schema, in DATABASE_URL."
        return failed(NAME, "this user has no rights in the schema superstoryboard", action)
    if not facts.owner:
        return ok(
            NAME, f"this user has the rights of {' and '.join(facts.member_of)} only; other checks need the owner"
        )
    if facts.missing:
        action = (
            f"Needed only for separate logins: {' '.join(f'create role {role} nologin;' for role in facts.missing)}"
        )
        return warning(NAME, f"the server lacks {', '.join(facts.missing)}", f"{action} Then run `storyboard migrate`.")
    text = "this user owns the schema; where services use it, only row-level security and functions hold rights"
    return ok(NAME, f"{text} (`storyboard roles create` makes a login for each)")
