"""Answers requests in fresh processes, to compare with the soak: ``python -m soaking.reference`` and its caller."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from soaking.contents import Content, contents

_TIMEOUT_S = 600
_AT_ONCE = 2


class ReferenceFailed(Exception):
    """A fresh process did not answer. The text says why."""


def references(
    requests: Mapping[str, Any], base: Path, each: bool, done: Callable[[], None]
) -> dict[str, list[Content]]:
    """The contents of each request's answer, by the request's name.

    Args:
        requests: the requests by name.
        base: the base directory.
        each: whether every request gets a process of its own. Otherwise one process answers all of them.
        done: called after each process.

    Raises:
        ReferenceFailed: a process failed.
    """
    groups = [{name: request} for name, request in requests.items()] if each else [dict(requests)]
    found: dict[str, list[Content]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for part in pool.map(lambda group: _fresh(group, base), groups):
            found |= part
            done()
    return found


def _fresh(requests: Mapping[str, Any], base: Path) -> dict[str, list[Content]]:
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKET_", "RUNPOD_"))}
    own = {"COMFY_BASE_DIR": str(base), "PYTHONPATH": os.pathsep.join(paths), "COMFY_ARGS": "--cpu"}
    try:
        process = subprocess.run(
            [sys.executable, "-m", "soaking.reference"],
            env=environment | own,
            input=json.dumps(requests), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ReferenceFailed(f"the fresh process for {_some(requests)} took more than {_TIMEOUT_S} s") from None
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ReferenceFailed(f"the fresh process for {_some(requests)} ended with its last words: {last}")
    answers: dict[str, list[list[str]]] = json.loads(process.stdout.splitlines()[-1])
    return {name: [_content(*entry) for entry in entries] for name, entries in answers.items()}


def _some(names: Iterable[str]) -> str:
    return ", ".join(names)[:100]


def _content(kind: str, node_id: str, filename: str, digest: str) -> Content:
    return kind, node_id, filename, digest


def main() -> None:
    """Answer the requests on standard input, and print the contents of the answers."""
    print(json.dumps(dict(_answered(json.load(sys.stdin)))))


def _answered(requests: Mapping[str, Any]) -> Iterator[tuple[str, list[Content]]]:
    from worker import Worker
    from worker.handler import make_handler

    with Worker() as worker:
        handler = make_handler(worker)
        for name, request in requests.items():
            answer = asyncio.run(handler({"id": "reference", "input": request}))
            yield name, contents(answer, _no_bucket)


def _no_bucket(url: str) -> bytes:
    raise ReferenceFailed(f"there is no bucket here: {url}")


if __name__ == "__main__":
    main()
