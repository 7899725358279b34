"""Runs a contender's jobs in a process of its own: ``python -m bench.contenders.child [DIR]``.

Without DIR it uses the ``worker`` that PYTHONPATH finds. This may be from an older checkout, so use only ``Worker``,
``make_handler``, ``make_ready`` and public attributes of it, and ask whether it has what is newer. With DIR it uses the
handler of a checkout of the public worker-comfyui.
"""

from __future__ import annotations

import time

_BEGAN = time.monotonic()

import asyncio  # noqa: E402 - these imports are measured, too.
import base64  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Coroutine  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from bench.contenders.pipe import Message, Pipe, die_with_parent  # noqa: E402

Run = Callable[[dict[str, Any]], Any]


def main() -> None:
    """Open the worker or handler that the arguments name, then answer jobs until the benchmark ends."""
    die_with_parent(signal.SIGKILL)
    pipe = Pipe()
    ways: dict[str, Run]
    try:
        ways, opened = open_known(Path(sys.argv[1])) if len(sys.argv) > 1 else open_worker()
    except Exception as error:  # noqa: BLE001 - the benchmark reports it.
        pipe.send({"error": one_line(error)})
        return
    pipe.send({"began": _BEGAN, "opened": time.monotonic(), **opened})
    while (message := pipe.receive()) is not None:
        try:
            pipe.send(measured(ways[message["way"]], message["jobs"]))
        except Exception as error:  # noqa: BLE001 - the benchmark reports it.
            pipe.send({"error": one_line(error)})


def measured(run: Run, jobs: list[dict[str, Any]]) -> Message:
    """Run ``jobs``. Returns the milliseconds from the last job's dict to its answer's dict, and the answer's sizes."""
    for job in jobs[:-1]:
        run(job)
    start = time.perf_counter()
    answer = run(jobs[-1])
    milliseconds = (time.perf_counter() - start) * 1000
    problem = answer.get("error") or answer.get("errors") or None
    if isinstance(problem, list):
        problem = problem[0]
    return {
        "ms": answer.pop("ms", milliseconds),  # The bare executor measures the time itself.
        "answer_bytes": len(json.dumps(answer)),
        "images": len(answer.get("images", [])),
        "files": len(answer.get("images", [])) + len(answer.get("files", [])),
        "error": None if problem is None else one_line(problem),
    }


def open_worker() -> tuple[dict[str, Run], Message]:
    """Open the worker, with the backend that the environment names. If it is embedded, add the bare executor."""
    import worker as package
    from worker import Worker, readiness
    from worker.handler import make_handler

    imported = time.monotonic()
    worker = Worker()
    expect_warm_up = getattr(readiness, "expect_warm_up", None)
    if expect_warm_up is not None:  # An older checkout does not have it.
        expect_warm_up(worker)
    worker.start()
    readiness.make_ready(worker)  # As a worker that serves does.
    handle, loop = followed(worker, make_handler), asyncio.new_event_loop()
    ways: dict[str, Run] = {"handler": lambda job: loop.run_until_complete(handle(job))}
    opened = {"imported": imported, "worker": str(Path(package.__file__ or "").resolve().parent)}
    if worker.runtime is not None:
        ways["bare"] = bare_way(worker)
        opened["steps"] = steps_of(worker.runtime)
    return ways, opened


def followed(worker: Any, make_handler: Any) -> Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]:
    """The handler of jobs whose progress is followed as on RunPod: folded, and encoded at intervals.

    If the settings turn progress off, or an older checkout does not have them, nobody listens.
    """
    interval_s = getattr(worker.settings, "progress_interval_s", 0)
    if not interval_s:
        off: Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]] = make_handler(worker)
        return off
    from worker.progress.job_progress import JobProgress

    progress = JobProgress()
    handle = make_handler(worker, progress)

    async def report() -> None:
        while True:
            await asyncio.sleep(interval_s)
            json.dumps(progress.report())

    async def handle_and_report(job: dict[str, Any]) -> dict[str, Any]:
        reporting = asyncio.create_task(report())
        try:
            answer: dict[str, Any] = await handle(job)
            return answer
        finally:
            reporting.cancel()

    return handle_and_report


def steps_of(runtime: Any) -> dict[str, float]:
    """The seconds of the start's steps. An older checkout has measured fewer."""
    try:
        from worker.start_steps import STEPS
    except ImportError:
        return getattr(runtime, "timings", {})
    return STEPS.seconds


def bare_way(worker: Any) -> Run:
    """The bare executor as a handler. It is built when its first job comes, so that it costs nothing before."""
    built: list[Callable[..., Any]] = []

    def run(job: dict[str, Any]) -> Message:
        given = job["input"]
        images = {image["name"]: base64.b64decode(image["image"]) for image in given.get("images", [])}
        ran = built[0](given["workflow"], images)
        return {"images": ran.files, "ms": ran.ms}

    def first(job: dict[str, Any]) -> Message:
        if not built:
            from bench.contenders.bare import BareExecutor

            built.append(BareExecutor(worker))
        return run(job)

    return first


def open_known(folder: Path) -> tuple[dict[str, Run], Message]:
    """Open the handler of a checkout of the public worker-comfyui."""
    sys.path[:0] = [str(folder), str(folder / "src")]
    return {"handler": importlib.import_module("handler").handler}, {"imported": time.monotonic()}


def one_line(error: object) -> str:
    """An error as one line of text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


if __name__ == "__main__":
    main()
