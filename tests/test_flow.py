"""A job flows one way: the handler takes one step after the other, and each step is a module of its own."""

from __future__ import annotations

import ast
import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import graphs

from worker import Worker, handler
from worker.handler import JobHandler

_MOST_MODULES = 8
_HANDLER = Path(str(handler.__file__))
_JOB = _HANDLER.parent / "job" / "job.py"  # The value that is handed on. It is asked whether it is ready to run.
_FRAME = "worker/job_log.py"  # The log stands around the steps: it opens with the job, and is told of its parts.


def _named_modules() -> set[str]:
    """Files of the worker's modules that the handler imports, relative to the project."""
    tree = ast.parse(_HANDLER.read_text("utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {f"{name.replace('.', '/')}.py" for name in names if name.startswith("worker.")}


def test_the_handler_names_few_modules() -> None:
    assert len(_named_modules()) <= _MOST_MODULES


class _Trace:
    """Notes which statement of the handler's steps enters which module, and in which order."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._statements = _statements()
        self.entries: list[tuple[str, int]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        caller = frame.f_back
        if event != "call" or caller is None or caller.f_code.co_filename != str(_HANDLER):
            return
        module = Path(frame.f_code.co_filename)
        if module in (_HANDLER, _JOB) or not module.is_relative_to(self._project):
            return
        statement = self._statements.get(caller.f_lineno)
        if statement is not None:
            self.entries.append((str(module.relative_to(self._project)), statement))


def _statements() -> dict[int, int]:
    """For each line of ``_steps``, of ``answer`` and of ``reply``: the line on which its statement begins."""
    found: dict[int, int] = {}
    for node in ast.walk(ast.parse(_HANDLER.read_text("utf-8"))):
        if isinstance(node, ast.AsyncFunctionDef) and node.name in ("_steps", "answer", "reply"):
            for statement in ast.walk(node):
                if isinstance(statement, ast.stmt) and not isinstance(statement, ast.With | ast.AsyncWith | ast.Try):
                    for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1):
                        found[line] = max(statement.lineno, found.get(line, 0))
    return found


def test_a_job_enters_each_module_from_one_step(worker: Worker, project: Path) -> None:
    job_handler, trace = JobHandler(worker), _Trace(project)
    sys.setprofile(trace)
    try:
        reply = asyncio.run(job_handler.reply({"id": "traced", "input": {"workflow": graphs.solid(0x0D0E0F)}}))
    finally:
        sys.setprofile(None)
    assert reply.error is None
    steps: dict[str, set[int]] = {}
    for module, statement in trace.entries:
        steps.setdefault(module, set()).add(statement)
    assert {module: lines for module, lines in steps.items() if len(lines) > 1 and module != _FRAME} == {}
    order = [module for module in dict.fromkeys(module for module, _ in trace.entries) if module != _FRAME]
    assert order == [
        "worker/workflows/admitted.py",
        "worker/bucket/buckets.py",
        "worker/worker.py",
        "worker/answer/outputs.py",
        "worker/answer/delivery.py",
        "worker/answer/reply.py",
    ]
    assert set(order) | {_FRAME} <= _named_modules()


def test_only_the_doors_call_the_handler() -> None:
    importers = [
        path for path in _HANDLER.parent.rglob("*.py") if "from worker.handler import" in path.read_text("utf-8")
    ]
    assert {path.parent.name for path in importers} == {"runpod", "local_api", "cli"}
