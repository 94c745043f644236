"""Reads the product's source for the errors that it names: a class beside a code, in a call, a tuple or a table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reference.page import ROOT

CODE = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass
class Source:
    """A module, and what its names at the top stand for."""

    name: str
    tree: ast.AST
    classes: dict[str, str] = field(default_factory=dict)
    """Names that stand for one member of ErrorClass."""
    texts: dict[str, str] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    """Names of tuples of words."""
    given: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Inside a function: the lines at which a name was given a text."""

    def error_class(self, node: ast.AST) -> str:
        """The member of ErrorClass that an expression is, both of a choice, or nothing."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ErrorClass":
            return node.attr
        if isinstance(node, ast.IfExp):
            return " or ".join(filter(None, (self.error_class(node.body), self.error_class(node.orelse))))
        return self.classes.get(node.id, "") if isinstance(node, ast.Name) else ""

    def text(self, node: ast.AST) -> str:
        """The text that an expression is, with … for what is put in; or nothing."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(self.text(each) or "…" for each in node.values)
        if isinstance(node, ast.Name):
            before = [text for line, text in self.given.get(node.id, []) if line < node.lineno]
            return before[-1] if before else self.texts.get(node.id, "")
        return ""


def sources() -> list[Source]:
    """Every module of the product."""
    modules = []
    for folder in ("superstoryboard", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name:
                tree = ast.parse(path.read_text())
                source = Source(str(path.relative_to(ROOT)), tree)
                _read_names(source, tree.body)
                modules.append(source)
    return modules


def scopes(source: Source) -> Iterator[Source]:
    """The module, and each function of it with the texts that it gives names to."""
    yield source
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            given: dict[str, list[tuple[int, str]]] = {}
            classes = dict(source.classes)
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    given.setdefault(node.targets[0].id, []).append((node.lineno, source.text(node.value)))
                    if error_class := source.error_class(node.value):
                        classes[node.targets[0].id] = error_class
            lines = {name: sorted(assigned) for name, assigned in given.items()}
            yield replace(source, tree=function, given=lines, classes=classes)


def _read_names(source: Source, body: list[ast.stmt]) -> None:
    for statement in body:
        if not isinstance(statement, ast.Assign):
            continue
        target, value = statement.targets[0], statement.value
        for name, given in _pairs(target, value):
            if not isinstance(name, ast.Name):
                continue
            if error_class := source.error_class(given):
                source.classes[name.id] = error_class
            elif text := source.text(given):
                source.texts[name.id] = text
            elif isinstance(given, ast.Tuple):
                source.words[name.id] = [source.text(each) for each in given.elts]


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def makers(modules: list[Source]) -> dict[str, tuple[str, int]]:
    """Functions that give every error one class: name → class and the position of the code among the arguments."""
    classes_of = {}
    for source in modules:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef):
                names = [each.arg for each in node.args.args if each.arg != "self"]
                classes = {source.error_class(each) for each in ast.walk(node)} - {""}
                if "code" in names and len(classes) == 1:
                    classes_of[node.name] = (classes.pop(), names.index("code"))
    return classes_of


def enums(modules: list[Source]) -> dict[str, list[tuple[str, str]]]:
    """Members of the enums of words: value and the text under it."""
    members_of = {}
    for source in modules:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "StrEnum" for base in node.bases):
                members_of[node.name] = list(_members(source, node))
    return members_of


def _members(source: Source, node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for index, statement in enumerate(node.body):
        if isinstance(statement, ast.Assign):
            after = node.body[index + 1] if index + 1 < len(node.body) else None
            yield source.text(statement.value), source.text(after.value) if isinstance(after, ast.Expr) else ""
