"""Hashes the source of a class, with everything in its module that it names.

The hash is made of the syntax tree. So comments and formatting do not change it, and it is the same for each version of
Python that reads the source alike.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class ModuleSource:
    """The source of a module, statement by statement.

    Args:
        text: the source.

    Raises:
        SyntaxError: it is no Python.
    """

    def __init__(self, text: str) -> None:
        self._binding: dict[str, list[ast.stmt]] = defaultdict(list)
        self._hashes: dict[int, bytes] = {}
        self._names: dict[int, frozenset[str]] = {}
        for statement in ast.parse(text).body:
            for name in set(_bound(statement)):
                self._binding[name].append(statement)

    def definitions(self, name: str) -> list[Definition]:
        """The functions and classes of this name. There can be several, in branches of an ``if`` or a ``try``."""
        found = (node for statement in self._binding.get(name, ()) for node in _statements(statement))
        return [node for node in found if isinstance(node, _DEFINITIONS) and node.name == name]

    def is_decorated(self, name: str, owner: str = "") -> bool:
        """Whether the function ``name``, of the class ``owner`` if there is one, has a decorator of some kind."""
        places: Iterator[ast.AST] = (inner for found in self.definitions(owner) for inner in found.body)
        found = places if owner else iter(self.definitions(name))
        return any(isinstance(each, _FUNCTIONS) and each.name == name and each.decorator_list for each in found)

    def named_by(self, name: str) -> frozenset[str]:
        """Names of the module that the code of ``name`` uses: those that it names, those that these name, and so on."""
        seen, waiting = {name}, [name]
        while waiting:
            for statement in self._binding.get(waiting.pop(), ()):
                further = {used for used in self._used(statement) if used in self._binding} - seen
                seen |= further
                waiting += further
        return frozenset(seen)

    def hash_of(self, name: str) -> str | None:
        """``name:`` and a hash of this class and of all statements that bind what it uses; None if it is no class."""
        if not any(isinstance(found, ast.ClassDef) for found in self.definitions(name)):
            return None
        statements = {id(each): each for used in self.named_by(name) for each in self._binding[used]}
        hashes = sorted(self._hash(each) for each in statements.values())
        return f"{name}:{hashlib.sha256(b''.join(hashes)).hexdigest()[:32]}"

    def statements(self, name: str) -> list[ast.stmt]:
        """All statements that ``hash_of(name)`` covers, in no order."""
        return list({id(each): each for used in self.named_by(name) for each in self._binding[used]}.values())

    def _used(self, statement: ast.stmt) -> frozenset[str]:
        if id(statement) not in self._names:
            self._names[id(statement)] = frozenset(
                node.id for node in ast.walk(statement) if isinstance(node, ast.Name)
            )
        return self._names[id(statement)]

    def _hash(self, statement: ast.stmt) -> bytes:
        if id(statement) not in self._hashes:
            text = "".join(_spelled(statement)).encode("utf-8", "surrogatepass")
            self._hashes[id(statement)] = hashlib.sha256(text).digest()
        return self._hashes[id(statement)]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module gives a value, or whose value it changes."""
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
        return
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield from _root(statement.value.func)
    for node in _statements(statement):
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield from _root(node)


def _statements(statement: ast.AST) -> Iterator[ast.AST]:
    """``statement`` and all in it, but not what functions and classes in it hold."""
    yield statement
    if not isinstance(statement, _DEFINITIONS):
        for child in ast.iter_child_nodes(statement):
            yield from _statements(child)


def _root(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _spelled(value: Any) -> Iterator[str]:
    """A syntax tree as text, without positions. Empty fields are left out, since versions of Python add some."""
    if isinstance(value, ast.AST):
        yield type(value).__name__
        for field in value._fields:
            inner = getattr(value, field, None)
            if inner is not None and inner != []:
                yield f"({field}="
                yield from _spelled(inner)
                yield ")"
    elif isinstance(value, list):
        for item in value:
            yield from _spelled(item)
            yield ","
    else:
        yield repr(value)
