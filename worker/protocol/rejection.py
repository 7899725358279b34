"""Turns ComfyUI's validation errors into one text, with a bullet for each problem."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from worker.protocol.links import is_link

_HEADLINE = "Workflow validation failed:"
_SHOWN_CHOICES = 20
_SHOWN_BULLETS = 25
_BULLET_LENGTH = 500
_OTHER_FOLDER = re.compile(r"\[(?:output|temp)\]\s*$")


def explain_rejection(
    error: Mapping[str, Any],
    node_errors: Mapping[str, Any],
    workflow: Mapping[str, Any],
    *,
    has_node_class: Callable[[str], bool],
    checkpoints: Callable[[], list[str]],
) -> str:
    """Build the text for a graph that ComfyUI refuses.

    Args:
        error: the ``error`` of ``/prompt``'s answer.
        node_errors: the ``node_errors`` of ``/prompt``'s answer.
        workflow: the graph as the caller sent it.
        has_node_class: returns whether a node class is installed.
        checkpoints: returns the names of the installed checkpoints. Called only if the graph names a missing one.
    """
    found = [*_missing_classes(workflow, has_node_class), *_dangling_links(workflow)]
    # For a link to a missing node, ComfyUI itself reports only the exception that the link caused.
    bullets = [*found, *explain_nodes(node_errors, exceptions=not found), *_cycle(workflow, node_errors)]
    text = refusal(bullets or [_general(error)])
    if not _misses_checkpoint(node_errors):
        return text
    names = checkpoints()
    if names:
        return f"{text}\n\nAvailable checkpoint models: {', '.join(names)}"
    return f"{text}\n\nNo checkpoint models appear to be available. Please check your model installation."


def refusal(bullets: Sequence[str]) -> str:
    """Build the text about a graph with these problems. Long bullets and a long list are cut."""
    text = "\n".join([_HEADLINE, *(f"• {_cut(bullet)}" for bullet in bullets[:_SHOWN_BULLETS])])
    more = len(bullets) - _SHOWN_BULLETS
    return f"{text}\n• and {more} more" if more > 0 else text


def explain_nodes(node_errors: Mapping[str, Any], *, exceptions: bool = True) -> list[str]:
    """A line for each problem: node id, class, input, what is wrong. ``exceptions``: whether to include exceptions."""
    return [
        f"Node {node_id} ({entry.get('class_type', 'unknown')}){_input_name(problem)}: {_problem(problem)}"
        for node_id, entry in node_errors.items()
        for problem in entry.get("errors", [])
        if exceptions or not str(problem.get("type", "")).startswith("exception_during")
    ]


def _missing_classes(workflow: Mapping[str, Any], has_node_class: Callable[[str], bool]) -> Iterator[str]:
    for node_id, node in workflow.items():
        if not has_node_class(node["class_type"]):
            yield f"Node {node_id} ({node['class_type']}): this node class is not installed"


def _dangling_links(workflow: Mapping[str, Any]) -> Iterator[str]:
    for node_id, node in workflow.items():
        for name, link in node["inputs"].items():
            if is_link(link) and link[0] not in workflow:
                yield f"Node {node_id} ({node['class_type']}) {name}: linked to node {link[0]}, which is not there"


def _cut(bullet: str) -> str:
    return bullet if len(bullet) <= _BULLET_LENGTH else bullet[:_BULLET_LENGTH] + " …"


def _cycle(workflow: Mapping[str, Any], node_errors: Mapping[str, Any]) -> Iterator[str]:
    """A line for a cycle. Older versions of ComfyUI refuse it and give no reason."""
    if node_errors:
        return
    sources = {
        node_id: {link[0] for link in node["inputs"].values() if is_link(link) and link[0] in workflow}
        for node_id, node in workflow.items()
    }
    try:
        TopologicalSorter(sources).prepare()
    except CycleError as error:
        yield f"The nodes {' → '.join(reversed(error.args[1]))} form a cycle"


def _general(error: Mapping[str, Any]) -> str:
    if error.get("type") == "prompt_no_outputs":
        return "The workflow has no output node, such as SaveImage"
    message, details = str(error.get("message") or "ComfyUI gave no reason"), str(error.get("details") or "")
    return f"{message}: {details}" if details else message


def _input_name(problem: Mapping[str, Any]) -> str:
    name = _extra(problem).get("input_name")
    return f" {name}" if name else ""


def _problem(problem: Mapping[str, Any]) -> str:
    extra = _extra(problem)
    kind = problem.get("type")
    if kind == "value_not_in_list":
        return _not_in_list(extra)
    if kind == "required_input_missing":
        return "this input is required and missing"
    message, details = str(problem.get("message", kind)), str(problem.get("details") or "")
    name = extra.get("input_name")
    if name and details.startswith(str(name)):
        details = details[len(str(name)) :].lstrip(" ,:-")
    if _OTHER_FOLDER.search(details):
        details += ": a job's output and temp folders are empty when it begins; send the file in 'images' instead"
    return f"{message} ({details})" if details else message


def _not_in_list(extra: Mapping[str, Any]) -> str:
    text = f"{extra.get('received_value')!r} is not in the list"
    choices = combo_choices(extra.get("input_config"))
    if extra.get("input_name") == "ckpt_name" or not 0 < len(choices) <= _SHOWN_CHOICES:
        return text
    return f"{text} ({', '.join(map(str, choices))})"


def combo_choices(config: Any) -> list[Any]:
    """The choices of a combo input: ``[[…], {…}]`` or ``["COMBO", {"options": […]}]``. Empty for other inputs."""
    if not isinstance(config, list | tuple) or not config:
        return []
    if isinstance(config[0], list):
        return config[0]
    options = config[1].get("options") if len(config) > 1 and isinstance(config[1], dict) else None
    return options if isinstance(options, list) else []


def _extra(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    return problem.get("extra_info") or {}


def _misses_checkpoint(node_errors: Mapping[str, Any]) -> bool:
    return any(
        problem.get("type") == "value_not_in_list" and _extra(problem).get("input_name") == "ckpt_name"
        for entry in node_errors.values()
        for problem in entry.get("errors", [])
    )
