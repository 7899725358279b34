"""Turns ComfyUI's validation errors into one text, with a bullet for each problem."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from worker.protocol.input_files import wrong_file
from worker.protocol.installed import Installed, combo_choices
from worker.protocol.links import broken_links, is_link, missing_source
from worker.protocol.missing_classes import missing_classes
from worker.protocol.origins import Origins

_HEADLINE = "Workflow validation failed:"
_SHOWN_CHOICES = 20
_SHOWN_BULLETS = 25
_BULLET_LENGTH = 500


def explain_rejection(
    error: Mapping[str, Any],
    node_errors: Mapping[str, Any],
    workflow: Mapping[str, Any],
    staged: Collection[str],
    installed: Installed,
    origins: Origins,
) -> str:
    """Build the text for a graph that ComfyUI refuses.

    Args:
        error: the ``error`` of ``/prompt``'s answer.
        node_errors: the ``node_errors`` of ``/prompt``'s answer.
        workflow: the graph as the caller sent it.
        staged: the names of the files that the request brings.
        installed: what this ComfyUI has.
        origins: what the caller says about where models and packs can be had.
    """
    missing = list(missing_classes(workflow, installed, origins))
    # ComfyUI stops at the first class that it does not have, and looks at no link.
    found = [*missing, *(_dangling_links(workflow) if missing else ())]
    bullets = [
        *found,
        *explain_nodes(node_errors, workflow, staged, installed, origins),
        *_cycle(workflow, node_errors),
    ]
    text = refusal(bullets or [_general(error)])
    if not _misses_checkpoint(node_errors):
        return text
    names = installed.model_files("checkpoints")
    if names:
        return f"{text}\n\nAvailable checkpoint models: {', '.join(names)}"
    return f"{text}\n\nNo checkpoint models appear to be available. Please check your model installation."


def refusal(bullets: Sequence[str]) -> str:
    """Build the text about a graph with these problems. Long bullets and a long list are cut."""
    text = "\n".join([_HEADLINE, *(f"• {_cut(bullet)}" for bullet in bullets[:_SHOWN_BULLETS])])
    more = len(bullets) - _SHOWN_BULLETS
    return f"{text}\n• and {more} more" if more > 0 else text


def explain_nodes(
    node_errors: Mapping[str, Any],
    workflow: Mapping[str, Any],
    staged: Collection[str],
    installed: Installed,
    origins: Origins,
) -> list[str]:
    """A line for each problem: node id, class, input, what is wrong. The arguments are those of explain_rejection."""
    lines = []
    for node_id, entry in node_errors.items():
        graph = workflow
        if node_id not in workflow:  # A handler of a node pack has added it.
            graph = {**workflow, node_id: {"class_type": str(entry.get("class_type", "unknown")), "inputs": {}}}
        problems = [problem for problem in entry.get("errors") or [] if isinstance(problem, Mapping)]
        found = _problems(problems, node_id, graph, staged, installed, origins)
        label = f"Node {node_id} ({entry.get('class_type', 'unknown')})"
        lines += [f"{label} {name}: {text}" if name else f"{label}: {text}" for name, text in found]
    return lines


def _problems(
    problems: list[Mapping[str, Any]],
    node_id: str,
    workflow: Mapping[str, Any],
    staged: Collection[str],
    installed: Installed,
    origins: Origins,
) -> Iterator[tuple[str, str]]:
    """The name of the input at fault, if one is, and what is wrong, for each problem of one node."""
    # Of a link that leads nowhere, ComfyUI reports only the exception that it caused, and of several the first one.
    broken = list(broken_links(node_id, workflow, installed)) if any(map(_may_be_a_link, problems)) else []
    yield from broken
    files = set()  # A class that checks all inputs at once reports a file once for each of them.
    for problem in problems:
        wrong = wrong_file(problem, workflow[node_id], staged, installed)
        if wrong is not None and wrong not in files:
            files.add(wrong)
            yield wrong
        elif wrong is None and not (broken and _may_be_a_link(problem)):
            yield _input_name(problem), _problem(problem, origins)


def _may_be_a_link(problem: Mapping[str, Any]) -> bool:
    return problem.get("type") == "bad_linked_input" or _is_exception(problem)


def _is_exception(problem: Mapping[str, Any]) -> bool:
    return str(problem.get("type", "")).startswith("exception_during")


def _dangling_links(workflow: Mapping[str, Any]) -> Iterator[str]:
    for node_id, node in workflow.items():
        for name, link in node["inputs"].items():
            if is_link(link) and link[0] not in workflow:
                yield f"Node {node_id} ({node['class_type']}) {name}: {missing_source(link[0])}"


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
    """The input's name; empty if there is none. With an exception, ComfyUI names an input of the node that follows."""
    return "" if _is_exception(problem) else str(_extra(problem).get("input_name") or "")


def _problem(problem: Mapping[str, Any], origins: Origins) -> str:
    extra = _extra(problem)
    kind = problem.get("type")
    if kind == "value_not_in_list":
        return _not_in_list(extra, origins.of_model(extra.get("received_value")))
    if kind == "required_input_missing":
        return "this input is required and missing"
    message, details = str(problem.get("message", kind)), str(problem.get("details") or "")
    if _is_exception(problem):
        return f"ComfyUI could not check this node ({extra.get('exception_type', 'an error')}: {details})"
    name = extra.get("input_name")
    if name and details.startswith(str(name)):
        details = details[len(str(name)) :].lstrip(" ,:-")
    return f"{message} ({details})" if details else message


def _not_in_list(extra: Mapping[str, Any], origin: str | None) -> str:
    text = f"{extra.get('received_value')!r} is not in the list"
    if origin:  # It helps more than the names of other models, with which the text may be too long.
        return f"{text}; {origin}"
    choices = combo_choices(extra.get("input_config"))
    if extra.get("input_name") == "ckpt_name" or not 0 < len(choices) <= _SHOWN_CHOICES:
        return text
    return f"{text} ({', '.join(map(str, choices))})"


def _extra(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    return problem.get("extra_info") or {}


def _misses_checkpoint(node_errors: Mapping[str, Any]) -> bool:
    return any(
        problem.get("type") == "value_not_in_list" and _extra(problem).get("input_name") == "ckpt_name"
        for entry in node_errors.values()
        for problem in entry.get("errors", [])
    )
