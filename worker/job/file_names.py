"""Checks the names of a job's input files."""

from __future__ import annotations

import re
import unicodedata

from worker.errors import InvalidJob
from worker.job.shown import quoted
from worker.protocol.spelling import usual_name

_LONGEST = 1024  # Bytes of a name.
_ANNOTATION = re.compile(r"\[(?:output|temp)\](?=\s*$)")
_INPUT = re.compile(r"\s*\[input\]\s*$")  # A workflow may name the folder that files are in anyway.


def checked_name(name: str) -> str:
    """``name`` in its usual spelling: a relative path that stays inside its folder, and that LoadImage accepts.

    Raises:
        InvalidJob: the name breaks a rule, which the text states.
    """
    usual = name if len(name) > _LONGEST else _INPUT.sub("", usual_name(name))
    problem = _name_problem(usual)
    if problem:
        raise InvalidJob(f"'images': the name {quoted(name)} {problem}")
    return usual


def _name_problem(name: str) -> str | None:
    parts = name.split("/")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return "has a control character or a character that is no text"
    if not parts[0] or re.match(r"[A-Za-z]:", name):
        return "must be a relative path, such as 'input.png'"
    if ".." in parts:
        return "must not contain '..'"
    if any(part in ("", ".") for part in parts):
        return "must name a file"
    if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > _LONGEST:
        return "is too long"
    annotation = _ANNOTATION.search(name)
    if annotation:
        plain = quoted(name[: annotation.start()].rstrip())
        return f"must not end with {annotation[0]}: files of a job are inputs. Name it {plain}, in the workflow as well"
    return None
