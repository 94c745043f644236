"""Who may call what, from the table that the services read."""

from __future__ import annotations

from reference.page import code, page, table
from superstoryboard.rpc.permissions import RIGHTS, SERVICES, Caller


def permissions_page() -> str:
    """docs/reference/permissions.md."""
    introduction = (
        "What each caller sees and changes by each call. Everything else is refused: without a token, and to role "
        "`anon`, with UNAUTHENTICATED; to others with PERMISSION_DENIED / `ROLE_REQUIRED`. Jobs of other owners do not "
        "exist for those who see their own. How callers get tokens: [Who may call](../SUPABASE.md#who-may-call)."
    )
    head = ("call", *Caller)
    calls = []
    for service, rows in SERVICES.items():
        lines = [(code(name), *(row.of(caller) for caller in Caller)) for name, row in rows.items()]
        calls.append(f"## {service}\n\n{table(head, lines)}")
    rights = [(right, ", ".join(caller for caller in Caller if caller in RIGHTS[right])) for right in RIGHTS]
    return page(
        "Permissions", introduction, *calls, f"## Rights beyond a call\n\n{table(('what is asked for', 'who'), rights)}"
    )
