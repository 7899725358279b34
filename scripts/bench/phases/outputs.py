"""Compares how fast images are delivered: this worker with ComfyUI's own SaveImage, and with RunPod's uploader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.contenders.process import Child
from bench.contenders.setup import EMBEDDED
from bench.plan import OUTPUTS, Plan

CASES = {
    "photo-1024": "ComfyUI's SaveImage",
    "photo-1024-batch4": "ComfyUI's SaveImage",
    "upload-4": "RunPod's uploader",
}
_START_S, _RUN_S = 300, 600


@dataclass(frozen=True)
class Outputs:
    """The measurements. ``ms``: by case, the milliseconds of ``worker`` and of ``other``; n-th runs are pairs.

    ``peak_rss``: bytes that the worker needs, above its idle state, to deliver 16 images. ``tensor``: bytes of the
    tensor of these images.
    """

    ms: dict[str, dict[str, list[float]]]
    peak_rss: float
    tensor: int


def measure_outputs(plan: Plan) -> Outputs | None:
    """Measure in a fresh process. None if it fails."""
    return plan.attempt(OUTPUTS, EMBEDDED, partial(_measured, plan))


def _measured(plan: Plan) -> Outputs:
    plan.progress.begin("outputs", len(CASES) * plan.counts.runs)
    setup = plan.setup
    environment = setup.environment(EMBEDDED)
    bucket = Child("bench.contenders.s3", [], environment, setup.folder / "s3.log")
    try:
        url = bucket.receive(_START_S)["url"]
        arguments = [url, str(plan.counts.runs)]
        worker = Child("bench.phases.outputs_process", arguments, environment, setup.folder / "outputs.log")
        try:
            memory = worker.receive(_START_S)
            ms: dict[str, dict[str, list[float]]] = {case: {"worker": [], "other": []} for case in CASES}
            for case in CASES:
                for _ in range(plan.counts.runs):
                    pair = worker.receive(_RUN_S)
                    for name, times in ms[case].items():
                        times.append(pair[name])
                    plan.progress.advance()
            return Outputs(ms, memory["peak_rss"], memory["tensor"])
        finally:
            worker.close()
    finally:
        bucket.close()
