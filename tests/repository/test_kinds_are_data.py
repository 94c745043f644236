"""What a kind is stands in one record and one row: no other line of the product asks for a kind by its name."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from superstoryboard.domain.kinds import KINDS, Plural

ROOT = Path(__file__).parents[2]
PRODUCT = ("superstoryboard", "services", "storyboard", "devstack", "benchmarks", "scripts")
EXEMPT = (
    "superstoryboard/domain/kinds.py",
    "superstoryboard/v1/",
    "superstoryboard/providers/google/",  # the media words of Google's wire format, and so the emulator's
    "devstack/emulators/google/",
)
NAMES = frozenset(KINDS)
WORDS = frozenset(word for kind in KINDS.values() for word in (kind.plural, kind.queue, kind.bucket))
"""What stands for a kind wherever it stands: what a command calls it, its queue and its bucket."""
MESSAGES = frozenset(kind.message.__name__ for kind in KINDS.values())
WORDS_OF_MEDIA = "superstoryboard/domain/media.py"
OF_KINDS = re.compile(r"(^|_)kinds?(_|$)|^media$", re.IGNORECASE)
ONE = "'(" + "|".join(NAMES) + ")'"
IN_SQL = re.compile(
    rf"\bkind\s*(=|<>|!=|~|\bin\s*\(|=\s*any\s*\(|is\s+(not\s+)?distinct\s+from)[^;]{{0,40}}?{ONE}"
    rf"|{ONE}\s*(=|<>|!=)\s*(\w+\.)*kind\b|\bcase\s+(\w+\.)*kind\s+when\b|\bkind\s*\|\||\|\|\s*(\w+\.)*kind\b",
    re.IGNORECASE,
)


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Lines of Python that compare with a kind's name, keep something by it, ask for a member by it, or give it."""
    for node in ast.walk(ast.parse(source)):
        if any(map(_asks, _parts(node))):
            yield getattr(node, "lineno", 0), ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and IN_SQL.search(node.value):
            yield node.lineno, node.value
        elif isinstance(node, ast.Constant) and node.value in WORDS:
            yield node.lineno, str(node.value)


def _parts(node: ast.AST) -> list[ast.AST | None]:
    """The places of a node where a kind's name stands for the kind."""
    parts: list[ast.AST | None] = []
    match node:
        case ast.Compare() if any(_is_of_kinds(each) for each in (node.left, *node.comparators)):
            parts = [node.left, *node.comparators]
        case ast.Match() if _is_of_kinds(node.subject):
            parts = [pattern for case in node.cases for pattern in ast.walk(case.pattern)]
        case ast.Dict(keys=keys):
            parts = [*keys]
        case ast.Subscript() if not _is_of_others(node.slice):
            parts = [node.slice]
        case ast.keyword() if node.arg and OF_KINDS.search(node.arg):
            parts = [node.value]
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, classes]):
            parts = [each for each in ast.walk(classes) if isinstance(each, ast.Name)]
        case ast.Call(func=ast.Attribute(attr="HasField" | "default_name" | "models" | "get")):
            parts = [*node.args]
    return parts


def _is_of_others(node: ast.AST) -> bool:
    """True for a choice of words of which some are no kinds: it is a choice of something else."""
    return isinstance(node, ast.Tuple) and not all(map(_asks, node.elts))


def _is_of_kinds(node: ast.AST) -> bool:
    names = {ast.Name: "id", ast.Attribute: "attr"}
    word = getattr(node, names[type(node)]) if type(node) in names else ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        word = str(node.slice.value)
    return bool(OF_KINDS.search(word))


def _asks(node: ast.AST | None) -> bool:
    """True for a name of a kind, or a set, list or choice of them."""
    if isinstance(node, ast.MatchValue):
        node = node.value
    if isinstance(node, ast.Constant):
        return node.value in NAMES
    if isinstance(node, ast.Name):
        return node.id in MESSAGES
    return isinstance(node, ast.Set | ast.List | ast.Tuple) and any(map(_asks, node.elts))


def product() -> Iterator[Path]:
    for folder in PRODUCT:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if not str(file.relative_to(ROOT)).startswith(EXEMPT):
                yield file


def test_no_module_asks_for_a_kind_by_its_name() -> None:
    offenders = [
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in product()
        if file != ROOT / WORDS_OF_MEDIA  # the bucket of a media
        for line, text in faults(file.read_text())
    ]
    assert not offenders, "\n".join(offenders)


def test_commands_take_every_kind() -> None:
    assert typing.get_args(Plural) == tuple(kind.plural for kind in KINDS.values())


def test_no_file_of_sql_asks_for_a_kind_by_its_name() -> None:
    files = [file for folder in ("migrations", *PRODUCT) for file in sorted((ROOT / folder).rglob("*.sql"))]
    assert ROOT / "superstoryboard" / "jobs" / "queue.sql" in files
    offenders = [
        f"{file.name}: {match[0]}" for file in files for match in IN_SQL.finditer(re.sub(r"--.*", "", file.read_text()))
    ]
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize(
    "source",
    [
        'if job.kind == "image": pass',
        'made = "video" if row["kind"] != "video" else 1',
        'if kind in {"image", "other"}: pass',
        'BUCKETS = {"image": 1}',
        'bucket = buckets["video"]',
        'match job.kind:\n    case "image": pass',
        'job.HasField("video")',
        'send(kind="image")',
        "connection.execute(\"select 1 from jobs where kind = 'video'\")",
        'catalogue.default_name("image")',
        'Kind = Literal["image", "video"]',
        'if plural == "images": pass',
        "if isinstance(message, ImageGeneration | VideoGeneration): pass",
        'queue: Literal["images", "videos"]',
        'QUEUES = ["video_generation_queue"]',
        'client.bucket("storyboard-images")',
    ],
)
def test_what_asks_is_noticed(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "statement",
    [
        "where job.kind = 'image' and state",
        "or p_job.kind in ('other', 'video')",
        "if job.kind is distinct from 'video'",
        "case j.kind when 'image' then 1 end",
        "p_job.kind || 'Url'",
        "where 'video' = kind",
    ],
)
def test_sql_that_asks_is_noticed(statement: str) -> None:
    assert IN_SQL.search(statement)


@pytest.mark.parametrize(
    "source",
    ['app.command("image")(image)', 'if unit in {"image", "second"}: pass', "NAME = 'image'", 'kind == "other"'],
)
def test_other_words_are_left_alone(source: str) -> None:
    assert not list(faults(source))
