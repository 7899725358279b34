"""Checks the parts of a request that run a workflow by its name, and that set inputs of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.errors import InvalidJob
from worker.job.depth import MAX_DEPTH, is_deeper
from worker.job.shown import kind, quoted

LONGEST_NAME = 250  # Characters of a workflow's name.
MOST_CHANGES = 1000
LONGEST_KEY = 500


def parse_name(name: str) -> str:
    """Check the name of a workflow. Whether there is one of this name is found out later.

    Raises:
        InvalidJob: no workflow can have this name.
    """
    if not name:
        raise InvalidJob("'workflow' is empty: it takes a graph, or the name of a workflow")
    if len(name) > LONGEST_NAME:
        raise InvalidJob(f"'workflow': a name has up to {LONGEST_NAME} characters, not {len(name)}")
    return name


def parse_changes(given: object) -> tuple[Mapping[str, Any], ...]:
    """Check the ``set`` of a request: ``{"NODE.INPUT": value}``. Whether it fits the workflow is found out later.

    Raises:
        InvalidJob: it is no such object, or too large.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise InvalidJob(f"'set' must be an object, such as {{\"3.seed\": 7}}, not {kind(given)}")
    if len(given) > MOST_CHANGES:
        raise InvalidJob(f"'set' has {len(given)} entries, the limit is {MOST_CHANGES}")
    for key in given:
        if not isinstance(key, str) or len(key) > LONGEST_KEY or not all(key.rpartition(".")):
            raise InvalidJob(f"'set': {quoted(key)} names no input: it takes NODE.INPUT, such as \"3.seed\"")
    if is_deeper(dict(given)):
        raise InvalidJob(f"'set' is nested more than {MAX_DEPTH} levels deep")
    return (given,) if given else ()
