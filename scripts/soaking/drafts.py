"""The drafts of a soak's jobs: what each job asks for, and how it must end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import graphs

from soaking.catalogue import catalogue

STOPPED, IN_ERRORS = "stopped", "in errors"
_FOREVER = 3000  # Steps of 20 ms: a minute.


@dataclass(frozen=True)
class Draft:
    """What one job asks for, and how it must end.

    Attributes:
        kind: the job's group in the report and in the picture.
        name: the job's name within its kind.
        request: the job's input.
        error_type: the ``error_type`` that the answer must have. None: the answer must have none. ``IN_ERRORS``: none,
            but ``errors``. ``STOPPED``: there must be no answer.
        has_files: whether the answer must hold files or texts, with an error or without.
        color: the colour of every pixel, if no other job has the same request; otherwise None.
        stop_after_s: after how many seconds the platform stops the job, from when it was handed out; None: never.
        is_slow: whether the job takes more than a second, so that it must report progress.
    """

    kind: str
    name: str
    request: Any
    error_type: str | None = None
    has_files: bool = True
    color: int | None = None
    stop_after_s: float | None = None
    is_slow: bool = False


def all_drafts() -> dict[str, list[Draft]]:
    """Every draft, by its kind. Drafts of the catalogue must be answered without an error."""
    good = {
        kind: [Draft(kind, name, request) for name, request in requests.items()]
        for kind, requests in catalogue().items()
    }
    stopped = [stopped_job(0.3), stopped_job(0.7)]
    return good | {
        "failing": _failing(), "refused": _refused(), "slow": [slow_job()], "timed out": _timed_out(),
        "stopped": stopped,
    }  # fmt: skip


def unique_job(color: int, width: int, height: int) -> Draft:
    """A picture of one colour."""
    return Draft("unique", "unique", {"workflow": graphs.solid(color, width, height)}, color=color)


def probe_job() -> Draft:
    """The job before a measurement. It is always the same, so that caches hold the same."""
    return Draft("pictures", "probe", {"workflow": graphs.solid(0xABCDEF, 48, 48)})


def slow_job() -> Draft:
    """A job that takes 1.2 s, and reports progress."""
    return Draft("slow", "slow", {"workflow": graphs.through("TestSleeps", color=0x5A5A5A, steps=60)}, is_slow=True)


def stopped_job(after_s: float) -> Draft:
    """A job that would take a minute, and is stopped after ``after_s`` seconds."""
    request = {"workflow": graphs.through("TestSleeps", steps=_FOREVER)}
    return Draft("stopped", f"after {after_s:g} s", request, STOPPED, has_files=False, stop_after_s=after_s)


def _failing() -> list[Draft]:
    """Jobs with a node that raises, alone or after a picture was saved."""
    alone = {
        "raises": graphs.through("TestRaises"),
        "exits": graphs.through("TestRaises", kind="SystemExit"),
        "wrong shape": graphs.through("TestReturns", kind="shape"),
        "no image": graphs.through("TestReturns", kind="text"),
        "recurses": graphs.through("TestMisbehaves", deed="recurses"),
    }
    drafts = [
        Draft("failing", name, {"workflow": graph}, "workflow_execution", has_files=False)
        for name, graph in alone.items()
    ]
    partly = _after_saving("TestRaises")
    return [*drafts, Draft("failing", "raises later", {"workflow": partly}, IN_ERRORS)]


def _after_saving(class_type: str, **inputs: Any) -> graphs.Graph:
    """A graph that saves a picture, then runs a node of ``class_type``, then saves another picture."""
    graph = graphs.solid(0x998877)
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node(class_type, image=["3", 0], **inputs)
    graph["5"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="late")
    return graph


def _refused() -> list[Draft]:
    """Jobs with graphs that ComfyUI does not accept, or with inputs that are not valid."""
    graph = graphs.solid()
    image = {"name": "in.png", "image": "AAAA"}
    invalid: dict[str, Any] = {
        "none": None, "empty": {}, "list": [1], "no JSON": "{", "no workflow": {"images": []},
        "editor's": {"workflow": {"nodes": [], "links": []}}, "limit": {"workflow": graph, "timeout_s": -1},
        "images": {"workflow": graph, "images": [1]}, "format": {"workflow": graph, "output_format": "bmp"},
    }  # fmt: skip
    images = {"no picture": image, "no base64": {**image, "image": "%"}}
    graph_faults = {
        "no such node": graphs.through("NoSuchNode"),
        "dangling": {**graph, "2": graphs.node("SaveImage", images=["99", 0], filename_prefix="x")},
        "no such model": graphs.text_to_image(checkpoint="missing.safetensors"),
        "no output": {"1": graph["1"]},
    }
    cases = [
        *((name, request, "invalid_input") for name, request in invalid.items()),
        ("outside", _with_image({**image, "name": "../in.png"}), "invalid_input"),
        *((name, _with_image(given), "invalid_image") for name, given in images.items()),
        *((name, {"workflow": given}, "workflow_validation") for name, given in graph_faults.items()),
    ]
    return [Draft("refused", name, request, error, has_files=False) for name, request, error in cases]


def _with_image(image: dict[str, str]) -> dict[str, Any]:
    return {"workflow": graphs.load("in.png"), "images": [image]}


def _timed_out() -> list[Draft]:
    alone = {
        "sleeps": graphs.through("TestSleeps", steps=_FOREVER),
        "heeds nobody": graphs.through("TestIgnoresInterrupts", seconds=1),
    }
    partly = {"workflow": _after_saving("TestSleeps", steps=_FOREVER), "timeout_s": 0.5}
    return [
        *(Draft("timed out", name, {"workflow": graph, "timeout_s": 0.3}, "timeout", has_files=False)
          for name, graph in alone.items()),
        Draft("timed out", "sleeps later", partly, "timeout"),
    ]  # fmt: skip
