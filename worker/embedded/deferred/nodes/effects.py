"""Tells from a node file's source whether it does anything when it is imported, besides defining its classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.embedded.deferred.nodes.packages import missing

_QUIET_DECORATORS = ("dataclass", "dataclasses", "functools", "torch", "contextmanager", "contextlib", "staticmethod")
_TALKS = ("logging", "logger", "log")
# What a file may change for others through.
_SHARED = ("PromptServer", "folder_paths", "environ", "register", "patch")


def has_effects(file: Path) -> bool:
    """Whether other code could notice that the file was imported, before it uses its classes.

    Such a file patches other modules, adds routes or model folders, or has a hook that ComfyUI calls at its start.
    """
    tree = ast.parse(file.read_text("utf-8"))
    own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return not all(_is_quiet(statement, own) for statement in tree.body)


def absent_packages(file: Path) -> list[str]:
    """The packages that a file tries to import, and that are not installed."""
    tree = ast.parse(file.read_text("utf-8"))
    tried = [each for node in ast.walk(tree) if isinstance(node, ast.Try) for each in node.body]
    return sorted({name for statement in tried for name in _imported(statement) if missing(name)})


def _is_quiet(statement: ast.stmt, own: set[str]) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Raise() | ast.Assert():
            return True
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return all(_root(each) in _QUIET_DECORATORS for each in statement.decorator_list)
        case ast.ClassDef():
            return _is_quiet_class(statement, own)
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=function)):
            return _root(function) in _TALKS
        case ast.Assign(targets=targets, value=value):
            return all(_is_own(target, own) for target in targets) and not _is_shared(value)
        case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
            return _is_own(target, own) and (value is None or not _is_shared(value))
        case ast.Try():
            return _are_quiet([*_reached(statement), *statement.finalbody], own) and all(
                _are_quiet(handler.body, own) for handler in statement.handlers
            )
        case ast.If() | ast.For():
            return _are_quiet([*statement.body, *statement.orelse], own)
    return False


def _are_quiet(statements: Sequence[ast.stmt], own: set[str]) -> bool:
    return all(_is_quiet(each, own) for each in statements)


def _is_quiet_class(node: ast.ClassDef, own: set[str]) -> bool:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if statement.name in ("on_load", "__init_subclass__"):
                return False
        elif not _is_quiet(statement, own):
            return False
    return all(_root(each) in _QUIET_DECORATORS for each in node.decorator_list)


def _reached(statement: ast.Try) -> Iterator[ast.stmt]:
    """What a ``try`` runs: nothing after the import of a package that is not installed."""
    for each in [*statement.body, *statement.orelse]:
        yield each
        if any(map(missing, _imported(each))):
            return


def _imported(statement: ast.stmt) -> list[str]:
    """The packages that a statement imports."""
    if isinstance(statement, ast.Import):
        return [alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
        return [statement.module.partition(".")[0]]
    return []


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_own(target: ast.expr, own: set[str]) -> bool:
    """Whether an assignment changes only a name of the module, or what the module itself has made."""
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return all(_is_own(part, own) for part in parts)
        case ast.Subscript(value=ast.Name(id=name)):
            return name in own
    return False


def _is_shared(value: ast.expr) -> bool:
    names = (getattr(node, "attr", None) or getattr(node, "id", "") for node in ast.walk(value))
    return any(word in str(name) for name in names for word in _SHARED)
