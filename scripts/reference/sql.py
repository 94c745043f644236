"""The SQL surface: functions, tables, views and grants, as the migrations make them."""

from __future__ import annotations

import re

from reference.page import ROOT, code, page, table

FUNCTION = re.compile(
    r"((?:^--[^\n]*\n)*)^create (?:or replace )?function (public|superstoryboard)\.(\w+)\s*"
    r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*(?:returns (.*?)\s)?\s*language",
    re.MULTILINE | re.DOTALL,
)
VERSIONED = re.compile(r"_v\d+$")
UNVERSIONED = {"sweep", "wake"}
"""Functions of our schema that clients call by a name without a version."""


def sql_page() -> str:
    """docs/reference/sql.md."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "migrations").glob("*.sql")))
    functions = FUNCTION.findall(text)
    public = [_function_row(each)[:3] for each in functions if each[1] == "public"]
    ours = [_function_row(each) for each in functions if each[1] != "public" and _is_called(each[2])]
    head = ("function", "arguments", "returns", "what it does")
    introduction = (
        "What can be called and read by SQL. Functions of schema `public` are for clients; those of "
        "`superstoryboard` are for the services, for pg_cron (`sweep`, `wake`) and for a person with `DATABASE_URL`. "
        "A number at the end of a name is its version."
    )
    return page(
        "SQL",
        introduction,
        f"## Functions for clients\n\nWhat they promise is [SPEC A3](../SPEC.md).\n\n{table(head[:3], public)}",
        f"## Grants\n\nNothing else is granted to roles of Supabase.\n\n```sql\n{_grants(text)}\n```",
        f"## Tables and views\n\n{table(('name', 'what it holds'), _relations(text))}",
        f"## Functions of superstoryboard\n\n{table(head, sorted(ours))}",
    )


def _is_called(name: str) -> bool:
    return bool(VERSIONED.search(name)) or name in UNVERSIONED


def _function_row(record: tuple[str, ...]) -> list[str]:
    comment, schema, name, arguments, returns = record
    inputs = [each.strip() for each in re.split(r",(?![^(]*\))", " ".join(arguments.split()))]
    outputs = [each.removeprefix("out ") for each in inputs if each.startswith("out ")]
    result = " ".join(re.sub(r"--[^\n]*", "", returns).split()) or f"({', '.join(outputs)})"
    words = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
    given = ", ".join(each for each in inputs if not each.startswith("out "))
    return [code(f"{schema}.{name}"), code(given), code(result), words]


def _relations(text: str) -> list[list[str]]:
    made = re.findall(r"((?:^--.*\n)*)^create (table|view) (superstoryboard\.\w+)", text, re.MULTILINE)
    comments = dict(re.findall(r"comment on (?:table|view) (superstoryboard\.\w+) is\s+'((?:[^']|'')*)'", text))
    rows = []
    for comment, kind, name in made:
        words = comments.get(name) or " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
        rows.append([code(name) + (" (view)" if kind == "view" else ""), words.replace("''", "'")])
    return sorted(rows)


def _grants(text: str) -> str:
    grants = re.findall(r"^\s*((?:grant|revoke) [^;%]*? on [^;%]*?(?: to | from )[^;]*;)", text, re.MULTILINE)
    return "\n".join(" ".join(grant.split()) for grant in grants)
