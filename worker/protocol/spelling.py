"""Understands names of files as others write them: with ``\\`` between folders, decomposed letters, a full path."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from worker.protocol.installed import combo_choices, declared_inputs

_LONGEST = 1024  # Characters of a name. Texts of callers may have millions, and none of these expressions is for them.
_HAS_SUFFIX = re.compile(r"[^\r\n]+\.\w{1,11}")  # Prompts do not end so.
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\][^\r\n]+")
ANNOTATION = re.compile(r"\s*\[(input|output|temp)\]\s*$")  # A folder of ComfyUI's, at the end of a name.


def usual_name(name: str) -> str:
    """``name`` with ``/`` between folders, and with composed letters (NFC), as Linux programs write them."""
    return name if name.isascii() and "\\" not in name else unicodedata.normalize("NFC", name.replace("\\", "/"))


def is_absolute(name: str) -> bool:
    """Whether ``name`` may be the full path of a file, on Linux or Windows."""
    return len(name) <= _LONGEST and _ABSOLUTE.fullmatch(name) is not None


def names_below(path: str, folders: Iterable[str]) -> list[str]:
    """The names that the file at ``path``, a full one, has in those of ``folders`` that it is in."""
    plain = posixpath.normpath(usual_name(path))
    roots = (posixpath.normpath(usual_name(folder)) + "/" for folder in folders)
    return list(dict.fromkeys(plain.removeprefix(root) for root in roots if plain.startswith(root)))


def respell(
    graph: dict[str, Any],
    staged: Collection[str],
    inputs_of: Callable[[str], Mapping[str, Any]],
    model_names: Callable[[str], Iterable[str]] = lambda _: (),
) -> None:
    """Change, in place, names in ``graph`` that are known in another spelling only.

    Args:
        graph: an API-format workflow.
        staged: the names of the job's input files, in their usual spelling.
        inputs_of: returns what ``INPUT_TYPES`` of a node class returns; empty if it is not known. Called only for a
            class that has a name with several spellings among its inputs.
        model_names: returns the names by which workflows call the model file at a full path.
    """
    for node in graph.values():
        inputs = node["inputs"]
        for key, value in inputs.items():
            if not isinstance(value, str) or not _may_vary(value):
                continue
            usual = usual_name(value)
            plain = ANNOTATION.sub("", usual)
            if plain in staged:
                inputs[key] = ANNOTATION.sub(r" [\1]", usual)  # ComfyUI cuts off the blank as well.
            if plain in staged or not _HAS_SUFFIX.fullmatch(plain):
                continue
            choices = _choices(inputs_of(node["class_type"]), key)
            if value not in choices:
                meant = {usual, *(model_names(value) if choices and is_absolute(value) else ())}
                same = (choice for choice in choices if isinstance(choice, str) and usual_name(choice) in meant)
                inputs[key] = next(same, value)


def _may_vary(value: str) -> bool:
    """Whether ``value`` may be the name of a file that has other spellings."""
    if is_absolute(value):
        return True
    is_usual = value.isascii() and "\\" not in value and not value.rstrip().endswith("]")
    return len(value) <= _LONGEST and not is_usual


def _choices(inputs: Mapping[str, Any], key: str) -> list[Any]:
    return combo_choices(declared_inputs(inputs).get(key))
