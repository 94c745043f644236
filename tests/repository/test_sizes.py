"""Functions and modules, those of the database too, stay small enough to be read at once."""

import ast
import re
from pathlib import Path

from superstoryboard.db.statements import read_statements

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 300
FUNCTION_LINES = 40
GENERATED = ROOT / "superstoryboard" / "v1"
PRODUCT = sorted(
    path
    for folder in ("superstoryboard", "services", "storyboard", "devstack", "scripts", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(GENERATED)
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MIGRATIONS = sorted((ROOT / "migrations").glob("*.sql"))
STATEMENTS = sorted((ROOT / "superstoryboard").rglob("*.sql"))
SQL_HEAD = r"^\s*create (?:or replace )?(?:function|procedure) ([\w.]+)"
SQL_NAME = re.compile(SQL_HEAD, re.MULTILINE | re.IGNORECASE)
SQL_FUNCTION = re.compile(SQL_HEAD.replace(r"\s*", "") + r".*?\$\$.*?\$\$;$", re.MULTILINE | re.DOTALL)


def long_functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of each function above the limit."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = [(each.name, (each.end_lineno or each.lineno) - each.lineno + 1) for each in functions]
    return [(name, count) for name, count in lines if count > FUNCTION_LINES]


def sql_functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of each function of a migration, from `create` to the end of its body."""
    return [(match[1], match[0].count("\n") + 1) for match in SQL_FUNCTION.finditer(source)]


def long_sql_functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of each SQL function above the limit."""
    return [(name, count) for name, count in sql_functions(source) if count > FUNCTION_LINES]


def test_a_long_function_is_seen() -> None:
    body = "\n    x = 1" * FUNCTION_LINES
    assert long_functions(f"async def f():{body}") == [("f", FUNCTION_LINES + 1)]
    assert long_functions(f"def f():{body[: -len(chr(10) + '    x = 1')]}") == []


def test_functions_are_short() -> None:
    too_long = {str(path.relative_to(ROOT)): long_functions(path.read_text()) for path in [*PRODUCT, *TESTS]}
    assert {path: names for path, names in too_long.items() if names} == {}


def sql_function(name: str, lines: int) -> str:
    """A function of so many lines, of which five are no statements."""
    body = "  perform 1;\n" * (lines - 5)
    return f"create function s.{name}()\nreturns void language plpgsql as $$\nbegin\n{body}end\n$$;\n"


def test_a_long_sql_function_is_seen() -> None:
    source = sql_function("before", 6) + sql_function("long", FUNCTION_LINES + 1) + sql_function("full", FUNCTION_LINES)
    assert long_sql_functions(source) == [("s.long", FUNCTION_LINES + 1)]
    assert long_sql_functions(source.replace("create function", "create or replace procedure")) != []


def test_every_sql_function_is_measured() -> None:
    for path in MIGRATIONS:
        text = path.read_text()
        assert [name for name, _ in sql_functions(text)] == SQL_NAME.findall(text), path.name


def test_sql_functions_are_short() -> None:
    too_long = {path.name: long_sql_functions(path.read_text()) for path in MIGRATIONS}
    assert too_long != {}
    assert {path: names for path, names in too_long.items() if names} == {}


def test_statements_are_short() -> None:
    sizes = {
        f"{path.name}: {name}": text.count("\n") + 1
        for path in STATEMENTS
        for name, text in read_statements(path).items()
    }
    assert sizes != {}
    assert {name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES} == {}


def test_modules_are_short() -> None:
    paths = [*PRODUCT, *TESTS, *MIGRATIONS, *STATEMENTS]
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in paths}
    assert {path: count for path, count in lines.items() if count > MODULE_LINES} == {}
