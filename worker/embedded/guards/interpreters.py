"""Lets ComfyUI's own nodes interpret a caller's text only by means that reach no live object and that end.

A node is known by what its code does, not by its name: which modules and functions it uses, and whether it formats a
text that is not its own.
"""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from worker.embedded.guards.expressions import evaluate_expression
from worker.embedded.guards.patterns import BoundedPattern, BoundedRe

_FORMATS = ("format", "format_map")
_guarded: set[int] = set()
_QUICK_TEXT = 2_000  # Characters of a prompt, which ComfyUI's own patterns are through with at once.


def guard_interpreters(node_class: Any) -> bool:
    """Guard the modules that hold the node's functions, once.

    Returns:
        Whether the node formats texts, and must be given them as ``CallersText``.
    """
    formats = False
    for function in _functions(node_class):
        _guard_module(function.__globals__)
        formats = formats or _formats_texts(function)
    return formats


def _functions(node_class: Any) -> Iterator[FunctionType]:
    for parent in node_class.__mro__[:-1]:
        for member in vars(parent).values():
            function = getattr(member, "__func__", member)
            function = getattr(function, "__wrapped__", function)
            if isinstance(function, FunctionType) and function.__module__ == node_class.__module__:
                yield function


def guard_prompt_reader(module: ModuleType) -> None:
    """Guard the patterns of a module of ComfyUI that is no node: text encoders and tokenizers get callers' prompts."""
    _bound_patterns(vars(module), _QUICK_TEXT)


def _bound_patterns(names: dict[str, Any], quick_below: int) -> None:
    for name, value in list(names.items()):
        if value is re:
            names[name] = BoundedRe(quick_below)
        elif isinstance(value, re.Pattern):
            names[name] = BoundedPattern(value, quick_below)


def _guard_module(names: dict[str, Any]) -> None:
    if id(names) in _guarded:
        return
    _guarded.add(id(names))
    _bound_patterns(names, 0)
    simpleeval = sys.modules.get("simpleeval")
    for name, value in list(names.items()):
        if simpleeval is not None and value is simpleeval.simple_eval:
            names[name] = evaluate_expression
        elif value is simpleeval or getattr(value, "__module__", None) == "simpleeval":
            names[name] = _refuse
    names.setdefault("eval", _refuse)
    names.setdefault("exec", _refuse)


def _refuse(*_args: object, **_kwargs: object) -> None:
    raise PermissionError("This node would run code that a caller sends: it is not available here")


def _formats_texts(function: FunctionType) -> bool:
    """Whether it, or a function of its module that it calls, formats a text that is not written in its code."""
    seen: set[CodeType] = set()
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        if code in seen:
            continue
        seen.add(code)
        if any(name in _FORMATS for name in code.co_names) and _formats_variable(code):
            return True
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        called = [function.__globals__.get(name) for name in code.co_names]
        functions = [other for other in called if isinstance(other, FunctionType)]
        waiting += [other.__code__ for other in functions if other.__module__ == function.__module__]
    return False


def _formats_variable(code: CodeType) -> bool:
    before = None
    for instruction in dis.get_instructions(code):
        is_method = instruction.argval in _FORMATS and instruction.opname in ("LOAD_METHOD", "LOAD_ATTR")
        if is_method and (before is None or before.opname != "LOAD_CONST"):
            return True
        before = instruction
    return False
