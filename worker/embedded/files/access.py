"""Tells what files a node can open, by what its code does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

# What code that opens or lists files in ComfyUI's folders mentions.
_OPENS_FILES = frozenset(
    {
        "annotated_filepath",
        "exists_annotated_filepath",
        "get_annotated_filepath",
        "get_directory_by_type",
        "get_input_directory",
        "get_input_subfolders",
        "glob",
        "iterdir",
        "listdir",
        "load_file",
        "open",
        "read_bytes",
        "read_text",
        "scandir",
        "VideoFromFile",
        "walk",
    }
)
_READS_OUTPUTS = frozenset({"get_dataset_dir", "get_output_directory"})  # What code mentions that opens saved files.
_COMFY_MODULES = ("nodes", "node_helpers")  # Beside comfy_extras/: the code that is followed from function to function.


@dataclass(frozen=True)
class FileAccess:
    """Whether a node's code opens files other than models, and whether these can be files that other nodes save."""

    opens: bool
    opens_saved: bool


def file_access(node_class: Any) -> FileAccess:
    """What the code of one of ComfyUI's own nodes opens.

    The methods of the class are looked at, and all functions of ComfyUI's nodes that they mention. A node that opens a
    file only through an object that it was given does not count: the node that made the object does.
    """
    mentioned: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [node_class]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        for function in _functions(found):
            names = set(_names(function.__code__))
            mentioned |= names
            waiting += [value for name in names if _is_comfy(value := function.__globals__.get(name))]
    opens = bool(mentioned & _OPENS_FILES)
    return FileAccess(opens, opens and bool(mentioned & _READS_OUTPUTS))


def _functions(found: Any) -> Iterator[FunctionType]:
    """``found`` itself if it is a function, or the methods of a class, its bases included."""
    if not inspect.isclass(found):
        members: list[Any] = [found]
    else:
        members = [value for base in found.__mro__ if _is_comfy(base) for value in vars(base).values()]
    for member in members:
        for value in (member, getattr(member, "fget", None)):
            plain = inspect.unwrap(getattr(value, "__func__", value)) if value is not None else None
            if isinstance(plain, FunctionType):
                yield plain


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_comfy(value: Any) -> bool:
    if isinstance(value, ModuleType) or not (inspect.isclass(value) or isinstance(value, FunctionType | MethodType)):
        return False
    # ComfyUI names the modules of comfy_extras/ by their paths.
    return str(value.__module__) in _COMFY_MODULES or "comfy_extras" in str(value.__module__)
