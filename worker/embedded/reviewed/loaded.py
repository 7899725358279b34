"""Tells whether the loaded code of a class is what its file says, or whether other code has replaced a part of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from worker.embedded.reviewed.source import ModuleSource

_WORKER = f"{Path(__file__).resolve().parents[2]}/"
_Codes = dict[str, list[CodeType]]


def module_of(node_class: Any) -> ModuleType | None:
    """The module that has this class under the class's name; None if there is none."""
    module = sys.modules.get(str(node_class.__module__))
    if module is None or vars(module).get(node_class.__name__) is not node_class:
        return None
    return module


@dataclass(frozen=True)
class Piece:
    """Something that a class's code uses: ``value`` stands in ``space`` under ``name``.

    ``codes``: the code that it may have, as its file says. ``owner``: the class whose member it is, if it is one.
    """

    space: Mapping[str, Any]
    name: str
    value: Any
    codes: Sequence[CodeType]
    owner: str = ""


class LoadedModule:
    """A module that is loaded, beside the code that its file makes.

    Args:
        module: one that Python loaded from a file.
        source: returns the source of this file. It is called only for code that is decorated, or replaced.
    """

    def __init__(self, module: ModuleType, source: Callable[[], ModuleSource]) -> None:
        spec: Any = module.__spec__
        code = spec.loader.get_code(spec.name)
        self._names = vars(module)
        self._source = source
        self._codes = _inner(code)

    def pieces(self, name: str) -> list[Piece]:
        """What the class ``name`` consists of, and the functions and classes of its module that it uses."""
        seen, waiting, pieces = {name}, [name], list[Piece]()
        while waiting:
            current = waiting.pop()
            pieces += self._pieces_of(current)
            codes = self._codes.get(current, ())
            used = {other for code in codes for other in _mentioned(code) if other in self._codes} - seen
            waiting += used
            seen |= used
        return pieces

    def _pieces_of(self, name: str) -> Iterator[Piece]:
        value, codes = self._names.get(name), self._codes.get(name, [])
        yield Piece(self._names, name, value, codes)
        if not isinstance(value, type):
            return
        bodies = [_inner(code) for code in codes]
        own = [code for body in bodies for found in body.values() for code in found]
        written = {key for body in bodies for key in body if key.isidentifier()}
        # An enumeration and a data class have members that Python makes.
        others: set[str] = set()
        if not (issubclass(value, Enum) or is_dataclass(value)):
            others = {key for key, member in vars(value).items() if _functions(member)}
        for key in written | others:
            yield Piece(vars(value), key, vars(value).get(key), own, owner=name)

    def is_replaced(self, name: str) -> bool:
        """Whether some part of the class ``name``, or of what it uses, is not what the file says."""
        return not all(self.is_own(piece) for piece in self.pieces(name))

    def is_own(self, piece: Piece) -> bool:
        """Whether ``piece`` is what the file says."""
        if isinstance(piece.value, type):
            name = f"{piece.owner}.{piece.name}" if piece.owner else piece.name
            return piece.value.__module__ == self._names["__name__"] and piece.value.__qualname__ == name
        functions = _functions(piece.value)
        if not functions and self._is_decorated(piece):  # By a class of ComfyUI's own, such as ``classproperty``.
            held = getattr(piece.value, "__dict__", {}).values()
            functions = [each for each in held if isinstance(each, FunctionType)]
        return bool(functions) and all(self._stems(function, piece) for function in functions)

    def _stems(self, function: Any, piece: Piece) -> bool:
        while True:
            code = getattr(function, "__code__", None)
            if code in piece.codes:
                return True
            wrapped = getattr(function, "__wrapped__", None)
            if wrapped is None:
                return False
            if not (code is not None and code.co_filename.startswith(_WORKER)) and not self._is_decorated(piece):
                return False
            function = wrapped

    def _is_decorated(self, piece: Piece) -> bool:
        return self._source().is_decorated(piece.name, piece.owner)


def _functions(member: Any) -> list[Any]:
    """The functions that a member of a class or a module stands for; empty if it is none."""
    if isinstance(member, property):
        return [each for each in (member.fget, member.fset, member.fdel) if each is not None]
    function = getattr(member, "__func__", member)
    return [function] if isinstance(function, FunctionType) or hasattr(function, "__wrapped__") else []


def _inner(code: CodeType) -> _Codes:
    """The code of the functions and classes that stand in ``code``, by their names."""
    found: _Codes = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.setdefault(constant.co_name, []).append(constant)
    return found


def _mentioned(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant)
