"""Functions and modules stay small enough to be read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 300
FUNCTION_LINES = 40
GENERATED = ROOT / "superstoryboard" / "v1"
PRODUCT = sorted(
    path
    for folder in ("superstoryboard", "services", "storyboard", "devstack", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(GENERATED)
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def long_functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of each function above the limit."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = [(each.name, (each.end_lineno or each.lineno) - each.lineno + 1) for each in functions]
    return [(name, count) for name, count in lines if count > FUNCTION_LINES]


def test_a_long_function_is_seen() -> None:
    body = "\n    x = 1" * FUNCTION_LINES
    assert long_functions(f"async def f():{body}") == [("f", FUNCTION_LINES + 1)]
    assert long_functions(f"def f():{body[: -len(chr(10) + '    x = 1')]}") == []


def test_functions_of_the_product_are_short() -> None:
    found = {str(path.relative_to(ROOT)): long_functions(path.read_text()) for path in PRODUCT}
    assert {path: names for path, names in found.items() if names} == {}


def test_modules_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in [*PRODUCT, *TESTS]}
    assert {path: count for path, count in lines.items() if count > MODULE_LINES} == {}
