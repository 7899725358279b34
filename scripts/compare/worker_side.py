"""The worker's side: what its handler answers to the same workflow."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.contenders.process import Child, ContenderFailed

from compare.observed import ENDED, FAILED, LATE, REFUSED, START_S, SUCCESS, Pack, Ran, Seen, names_of, plain
from compare.options import Case

_GRACE_S = 60
_NODE_FAILED = re.compile(r"Workflow execution error: Node Type: .*, Node ID: (.*?), Message: ")
_OUTCOMES = {"workflow_validation": REFUSED, "timeout": LATE, "workflow_execution": FAILED}


class WorkerSide:
    """The worker in a process of its own, which is started anew if it ends.

    Args:
        environment: the process's variables.
        timeout_s: of each workflow.
        log: the file for its log.
    """

    def __init__(self, environment: Mapping[str, str], timeout_s: float, log: Path) -> None:
        self._environment, self._timeout_s, self._log = environment, timeout_s, log

    @contextlib.contextmanager
    def start(self) -> Iterator[Seen]:
        """Start it, and see its packs and classes. Raises RuntimeError if it does not start."""
        self._child = Child("compare.worker_process", [], self._environment, self._log)
        try:
            try:
                about = self._child.receive(START_S)
            except ContenderFailed as error:
                raise RuntimeError(str(error)) from None
            self._hidden = names_of(*map(Path, about["folders"]))
            packs = {name: Pack(name, seconds, self._first_line(error)) for name, seconds, error in about["packs"]}
            yield Seen(packs, plain(about["classes"], self._hidden))
        finally:
            self._child.close()

    def run(self, case: Case, folder: Path) -> Ran:
        """Run a workflow, and put its files into ``folder``."""
        try:
            self._child.send({"job": self._job(case), "folder": str(folder)})
            return self._ran(self._child.receive(self._timeout_s + _GRACE_S))
        except ContenderFailed as error:
            return Ran(ENDED, (str(error),))

    def _first_line(self, error: str | None) -> str | None:
        """What a server's log has in one line."""
        return error and str(plain(error.splitlines()[0], self._hidden))

    def _job(self, case: Case) -> dict[str, Any]:
        job = case.job
        images = [
            {"name": image.name, "image": image.data if isinstance(image.data, str) else _base64(image.data)}
            for image in job.images
        ]
        given: dict[str, Any] = {"workflow": job.editor or job.workflow, "images": images, "timeout_s": self._timeout_s}
        if job.changes:
            given["set"] = {key: value for values in job.changes for key, value in values.items()}
        if job.extra_pnginfo is not None:
            given["extra_data"] = {"extra_pnginfo": job.extra_pnginfo}
        if job.api_key:
            given["comfy_org_api_key"] = job.api_key
        return {"id": "compare", "input": given}

    def _ran(self, message: Mapping[str, Any]) -> Ran:
        answer = message["answer"]
        lines = [str(line) for key in ("details", "errors", "warnings") for line in answer.get(key, ())]
        lines += [str(answer["error"])] if "error" in answer else []
        nodes = tuple(found[1] for line in lines if (found := _NODE_FAILED.match(line)))
        outcome = SUCCESS
        if nodes:
            outcome = FAILED
        elif "error" in answer:
            outcome = _OUTCOMES.get(str(answer.get("error_type")), str(answer.get("error_type")))
        return Ran(
            outcome,
            tuple(dict.fromkeys(lines)),
            nodes,
            {place: Path(path) for place, path in message["files"].items()},
            (),
            tuple((str(text["node_id"]), plain(text["text"], self._hidden)) for text in answer.get("text", ())),
            {node_id: plain(shown, self._hidden) for node_id, shown in message["ui"].items()},
        )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
