"""Error codes of jobs and reasons of refused calls, as the source names them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from reference.page import ROOT, code, page, table
from reference.sources import CODE, Source, enums, makers, scopes, sources

IN_SQL = re.compile(r"'class',\s*'([A-Z_]+)',\s*'code',\s*'([A-Z_]+)',\s*'message',\s*'((?:[^']|'')*)'")

ErrorRows = Iterator[tuple[str, str, str]]
"""Code, class (or status), text."""


def errors_page() -> str:
    """docs/reference/errors.md."""
    modules = sources()
    kinds = enums(modules)
    jobs = [*_named(modules), *_in_sql(), *_refused_calls(kinds)]
    storage = [(f"STORAGE_{value}", words) for value, words in kinds["StorageErrorKind"]]
    introduction = (
        "Class, code and message stand in `Job.error`, in events and in `superstoryboard.jobs.error`. The class "
        "decides what follows ([STATES](../STATES.md#errors-and-what-follows)), the code says what it was, the "
        "message is for people and may change. … stands for a value. What to do about dead letters "
        "is in the [RUNBOOK](../RUNBOOK.md#dead-letters)."
    )
    calls = (
        "A refused call has a canonical gRPC status; the reason is that of its `google.rpc.ErrorInfo`, domain "
        "`superstoryboard`. Wrong fields are in `BadRequest`, a delay in `RetryInfo`."
    )
    refusals = (
        "Where the provider names a reason for a refusal or an empty result, that reason is the code; these are known."
    )
    reasons = _merged(_reasons(modules, kinds))
    return page(
        "Errors",
        introduction,
        f"## Codes of jobs\n\n{table(('code', 'class', 'message'), _merged(jobs))}",
        f"## Codes of Storage\n\nClass CONFIG if the configuration must change, else UNAVAILABLE_DEPENDENCY.\n\n"
        f"{table(('code', 'meaning'), [[code(name), words] for name, words in sorted(storage)])}",
        f"## Words of the provider\n\n{refusals}\n\n{table(('code', 'class'), _words(modules))}",
        f"## Reasons of refused calls\n\n{calls}\n\n{table(('reason', 'status', 'message'), reasons)}",
    )


def _merged(texts_of: list[tuple[str, str, str]]) -> list[list[str]]:
    rows: dict[str, tuple[set[str], list[str]]] = defaultdict(lambda: (set(), []))
    for name, group, text in texts_of:
        rows[name][0].add(group)
        if text and text.strip("… ") and text not in rows[name][1]:
            rows[name][1].append(text)
    return [
        [code(name), ", ".join(sorted(groups)), " / ".join(sorted(texts))]
        for name, (groups, texts) in sorted(rows.items())
    ]


def _named(modules: list[Source]) -> ErrorRows:
    """A class and a code side by side, in a call or a tuple; or a code given to a function that has one class."""
    with_class = makers(modules)
    for source in modules:
        for scope in scopes(source):
            for node in ast.walk(scope.tree):
                if isinstance(node, ast.Call | ast.Tuple):
                    yield from _beside_its_class(scope, node.args if isinstance(node, ast.Call) else node.elts)
                if isinstance(node, ast.Call) and (maker := getattr(node.func, "id", "")) in with_class:
                    group, position = with_class[maker]
                    yield from _at(scope, node.args, position, group)


def _beside_its_class(source: Source, given: list[ast.expr]) -> ErrorRows:
    for position, each in enumerate(given):
        if group := source.error_class(each):
            yield from _at(source, given, position + 1, group)


def _at(source: Source, given: list[ast.expr], position: int, group: str) -> ErrorRows:
    """The code at a position, and the text after it."""
    name, *rest = [source.text(each) for each in given[position : position + 2]] or [""]
    if _is_code(name):
        yield name, group, "".join(rest)


def _is_code(text: str) -> bool:
    return bool(CODE.fullmatch(text))


def _in_sql() -> ErrorRows:
    for path in sorted((ROOT / "migrations").glob("*.sql")):
        for group, name, text in IN_SQL.findall(path.read_text()):
            yield name, group, text.replace("''", "'")


def _refused_calls(kinds: dict[str, list[tuple[str, str]]]) -> ErrorRows:
    for value, words in kinds["CallRefusal"]:
        yield value, "UNKNOWN_OUTCOME", words


def _words(modules: list[Source]) -> list[list[str]]:
    """Tables from a word of the provider to a class: dicts and `dict.fromkeys` over tuples of words."""
    rows = {}
    for source in modules:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Dict):
                pairs = [([source.text(key)], value) for key, value in zip(node.keys, node.values, strict=True) if key]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "fromkeys" and len(node.args) == 2:
                pairs = [(_texts(source, node.args[0]), node.args[1])]
            else:
                continue
            rows.update({word: source.error_class(value) for words, value in pairs for word in words if _is_code(word)})
    return [[code(word), group] for word, group in sorted(rows.items()) if group]


def _texts(source: Source, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return source.words.get(node.id, [])
    return [source.text(each) for each in node.elts] if isinstance(node, ast.Tuple) else []


def _reasons(modules: list[Source], kinds: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str, str]]:
    rows = []
    for source in modules:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            enums_of = {each.arg: getattr(each.annotation, "id", "") for each in function.args.args}
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and len(node.args) > 2:
                    status, reason, text = node.args[:3]
                    rows += [
                        (name, getattr(status, "attr", ""), source.text(text))
                        for name in _reason_names(source, reason, enums_of, kinds)
                    ]
    return rows


def _reason_names(
    source: Source, node: ast.AST, enums_of: dict[str, str], kinds: dict[str, list[tuple[str, str]]]
) -> list[str]:
    if name := source.text(node):
        return [name]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return [
            value
            for value, _ in kinds.get(enums_of.get(node.value.id, ""), [])
            if value not in {"NOT_FOUND", "NOT_YOURS", "QUOTA_EXCEEDED", "RECORDED"}
        ]
    return []
