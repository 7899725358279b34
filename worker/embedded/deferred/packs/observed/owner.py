"""Tells whose code a value is."""

from __future__ import annotations

import functools
import os
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

_WRAPPERS = (staticmethod, classmethod)
_BUILTIN = (BuiltinFunctionType, type(dict.get), type(object.__init__), type(str.__dict__["join"]))

_CODE = (FunctionType, MethodType, type, property, functools.partial, *_WRAPPERS, *_BUILTIN)


def file_of(value: Any) -> str | None:
    """The file that a function, class or module comes from; None if that is not known."""
    value = _unwrapped(value)
    if isinstance(value, FunctionType):  # Not its module, which ``functools.wraps`` copies from another function.
        return value.__code__.co_filename
    if isinstance(value, ModuleType):
        return vars(value).get("__file__")
    module = sys.modules.get(_module_of(value))
    return vars(module).get("__file__") if isinstance(module, ModuleType) else None


def package_of(value: Any) -> str:
    """The top package of a function, class or object, such as ``torch``; empty if that is not known."""
    value = _unwrapped(value)
    if isinstance(value, FunctionType):
        file = value.__code__.co_filename
        if not file.startswith("<"):  # Python made that of others from a text.
            return _package_of_file(file)
    return _module_of(value).partition(".")[0]


def is_code(value: Any) -> bool:
    """Whether it is a function, a method or a class, as its owner defines it."""
    return isinstance(value, _CODE)


def is_below(file: str | None, pack: str) -> bool:
    """Whether a file is one of a node pack: in its folder, or its only one."""
    return file is not None and (file == pack or file.startswith(pack + os.sep))


def _unwrapped(value: Any) -> Any:
    for _ in range(8):
        if isinstance(value, (*_WRAPPERS, MethodType)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, functools.partial):
            value = value.func
        else:
            break
    return value


def _module_of(value: Any) -> str:
    owner = value if isinstance(value, type | FunctionType | BuiltinFunctionType) else type(value)
    name = getattr(owner, "__module__", None)
    return name if isinstance(name, str) else ""


@functools.cache
def _package_of_file(file: str) -> str:
    """The top package of a file of code, by the folders that Python finds modules in; the file if it is in none."""
    for folder in sorted(sys.path, key=len, reverse=True):
        if folder and file.startswith(folder.rstrip(os.sep) + os.sep):
            return file[len(folder.rstrip(os.sep)) + 1 :].partition(os.sep)[0].removesuffix(".py")
    return file
