"""SQL statements in files: what a class declares in `queue.py` stands in `queue.sql` beside it.

A file is read once, as its module is imported. Each statement follows a heading `-- name: claim_jobs` and ends with a
semicolon; comments may stand between the two.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_NO_VALUE = re.compile(r"(?<!%)(?:%%)*%(?!\(\w+\)s|%)")


class StatementsError(Exception):
    """A file of statements is not what the class that declares them expects."""


class Statements:
    """Base of a class whose annotations name the statements of the file beside its module, all of them and no other.

    Raises:
        StatementsError: as the class is defined, where a statement is missing, undeclared, doubled or not ended.
    """

    def __init_subclass__(cls) -> None:
        """Give each annotation its statement."""
        file = Path(inspect.getfile(cls)).with_suffix(".sql")
        statements = read_statements(file)
        for name in inspect.get_annotations(cls).keys() ^ statements.keys():
            raise StatementsError(f"{name} is in only one of {file.name} and {cls.__module__}.{cls.__name__}")
        for name, statement in statements.items():
            setattr(cls, name, statement)


def read_statements(file: Path) -> dict[str, str]:
    """Text of each statement of a file by its name, without the semicolon.

    Raises:
        StatementsError: a name is there twice, or what follows a heading is not one statement.
    """
    before, *parts = _HEADING.split(file.read_text(encoding="utf-8"))
    if _without_comments(before):
        raise StatementsError(f"{file.name} begins with a statement that has no name")
    statements: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise StatementsError(f"{file.name} has {name} twice")
        statement, *rest = _without_comments(text).split(";")
        if not statement or rest != [""]:
            raise StatementsError(f"{file.name}: {name} is not one statement with a semicolon at its end")
        if _NO_VALUE.search(statement):
            raise StatementsError(f"{file.name}: {name} has a percent sign that is no value; write %%")
        statements[name] = statement
    return statements


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*--.*(\n|\Z)", "", text, flags=re.MULTILINE).strip()
