"""Says what is wrong with the name of an input file that ComfyUI does not find, and what the request brings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from worker.protocol.installed import Installed, combo_choices, declared_inputs, declared_kind
from worker.protocol.spelling import ANNOTATION, is_absolute, usual_name

# As ComfyUI's own loaders say it, and those of packs: "Invalid image file: a.png".
_INVALID = re.compile(r"\bInvalid (?:[\w ]+ )?(?:file|path):")
_URL = re.compile(r"\s*https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"\s*data:", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\r\n-]{100,}")
_LOOKED_AT, _SHOWN, _MOST = 4096, 200, 5  # Characters of a value, of a value in a message; names of files.


def wrong_file(
    problem: Mapping[str, Any], node: Mapping[str, Any], staged: Collection[str], installed: Installed
) -> tuple[str, str] | None:
    """The input at fault and what to do, if a problem of a node is that it does not find an input file.

    Args:
        problem: one of ComfyUI's ``node_errors``.
        node: the node, as the caller sent it.
        staged: the names of the files that the request brings.
        installed: tells which inputs of a node class take a file.
    """
    kind, details = problem.get("type"), str(problem.get("details") or "")
    extra = problem.get("extra_info")
    reported = extra.get("input_name") if isinstance(extra, Mapping) else None
    if kind == "custom_validation_failed":
        # Some classes check all inputs at once, and ComfyUI then reports each of them.
        names = [name for name in node["inputs"] if _named_in(details, node["inputs"][name])]
        if not _INVALID.search(details[:_SHOWN]) or not names:
            return None
        name = reported if reported in names else names[0]
    elif kind == "value_not_in_list" and reported in file_inputs(node, staged, installed):
        name = reported
    elif str(kind).startswith("exception_during"):
        name = _without_name(node, staged, installed)
    else:
        return None
    return (str(name), _advice(_plain(node["inputs"].get(name)), details, staged)) if name is not None else None


def _plain(value: Any) -> Any:
    """The value of an input. ComfyUI takes ``{"__value__": …}`` for the value in it."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def _named_in(details: str, value: Any) -> bool:
    value = _plain(value)
    return isinstance(value, str) and bool(value) and details.rstrip().endswith(value.rstrip())


def _without_name(node: Mapping[str, Any], staged: Collection[str], installed: Installed) -> str | None:
    """The input that takes the name of a file and has a value that is no text. A loader cannot check such a value."""
    given = {name: value for name, value in node["inputs"].items() if not isinstance(value, str | list)}
    declared = declared_inputs(installed.inputs_of(node["class_type"]))
    # Some of ComfyUI's loaders say only by their name that their list is one of files.
    lists = [name for name, config in declared.items() if _is_list(config) and node["class_type"].startswith("Load")]
    return next((name for name in (*file_inputs(node, staged, installed), *lists) if name in given), None)


def _is_list(config: Any) -> bool:
    kind = declared_kind(config)
    return isinstance(kind, list) or kind == "COMBO"


def file_inputs(node: Mapping[str, Any], staged: Collection[str], installed: Installed) -> list[str]:
    """The inputs of a node that take the name of an input file: they offer to upload one, or list those there are."""
    found = []
    for name, config in declared_inputs(installed.inputs_of(node["class_type"])).items():
        parts = config if isinstance(config, list | tuple) else ()
        options = next((part for part in parts if isinstance(part, Mapping)), {})
        uploads = any(value and str(key).endswith("upload") for key, value in options.items())
        names = (choice for choice in combo_choices(config) if isinstance(choice, str))
        if uploads or any(usual_name(name) in staged for name in names):
            found.append(name)
    return found


def _advice(value: Any, details: str, staged: Collection[str]) -> str:
    if not isinstance(value, str):
        return f"this input takes the name of a file, as a string; {brings(staged)}"
    if not value.strip():
        return f"this input takes the name of a file, and is empty; {brings(staged)}"
    if _URL.match(value):
        return (
            f"{_short(value)} is a URL, and this input takes the name of a file: "
            f"send the URL under 'images', with a name, and put that name here; {brings(staged)}"
        )
    start = value[:_LOOKED_AT]
    if _DATA_URI.match(start) or _BASE64.fullmatch(start):
        return (
            "this is base64, and this input takes the name of a file: "
            f"send the base64 under 'images', with a name, and put that name here; {brings(staged)}"
        )
    if len(value) > _LOOKED_AT:
        return f"this input takes the name of a file, and {_short(value)} is too long for one; {brings(staged)}"
    said = _INVALID.search(details[:_SHOWN])
    name = usual_name(ANNOTATION.sub("", value)).strip()
    text = f"{details[said.start() : said.end()]} {_short(value)}" if said else f"there is no file {_short(value)}"
    return f"{text} ({brings(staged)}{_what_to_do(value, name, staged)})"


def _what_to_do(value: str, name: str, staged: Collection[str]) -> str:
    folder = ANNOTATION.search(value)
    if folder is not None and folder[1] != "input":
        return "; a job's output and temp folders are empty when it begins; send the file in 'images' instead"
    meant = [each for each in staged if each.rpartition("/")[2].lower() == name.rpartition("/")[2].lower()]
    if meant:
        return f"; name it {_short(meant[0])} in the workflow, or {_short(name)} under 'images'"
    wanted = name.rpartition("/")[2] if is_absolute(name) or ".." in name.split("/") else name
    return f"; send {_short(wanted)} under 'images'"


def brings(staged: Collection[str]) -> str:
    """Which files a request brings, for a message."""
    if not staged:
        return "the request brings no files"
    names = ", ".join(map(_short, list(staged)[:_MOST]))
    return f"the request brings {names}" + (f" and {len(staged) - _MOST} more" if len(staged) > _MOST else "")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
