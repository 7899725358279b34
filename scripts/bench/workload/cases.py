"""``Case``: the built-in kinds of jobs, and those from a user's workflow files."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphs import Graph, solid, text_to_image

from bench.workload.models import CHECKPOINT, UPSCALER
from bench.workload.workflows import blend, input_photo, upscale
from worker.errors import InvalidJob
from worker.job.from_python import make_job
from worker.job.job import Job

_SEED_NAMES = ("seed", "noise_seed")
_SEEDS = 2**32
_COLORS = 2**24
Request = dict[str, Any]
"""The value of a job's ``input``."""


@dataclass(frozen=True)
class Case:
    """One kind of job.

    Attributes:
        name: the case's name in the report.
        request: returns the input of the job ``(number, part)``. No two jobs of a contender have the same number.
        jobs: number of jobs in one run. They run one after the other, as part 0, 1, ….
        models: model files that the case needs, below ``models/``.
        has_bare: whether the case is also run with the bare executor.
        is_varied: whether each number gives another job, so that nothing comes from ComfyUI's cache.
    """

    name: str
    request: Callable[[int, int], Request]
    jobs: int = 1
    models: tuple[str, ...] = ()
    has_bare: bool = True
    is_varied: bool = True


def _empty(number: int, _part: int = 0) -> Request:
    return {"workflow": solid(number * 97 % _COLORS)}


def _photo(number: int, _part: int = 0, count: int = 1) -> Request:
    return {"workflow": blend(count, number % 10_000_000 * 1e-7), "images": [input_photo(number)]}


def _photos(number: int, _part: int = 0) -> Request:
    return _photo(number, count=4)


def _sampled(number: int, _part: int = 0) -> Request:
    return {"workflow": text_to_image(number % _SEEDS, steps=4, size=128)}


def _steps(number: int, _part: int = 0) -> Request:
    return {"workflow": text_to_image(number % _SEEDS, steps=20, size=64)}


def _upscaled(number: int, _part: int = 0) -> Request:
    return {"workflow": upscale(Path(UPSCALER).name), "images": [input_photo(number)]}


def _repeated(_number: int, _part: int = 0) -> Request:
    return _photo(0)


def _mixed(number: int, part: int) -> Request:
    return (_photo, _sampled, _upscaled)[part](number)


BUILT_IN = {
    case.name: case
    for case in (
        Case("empty-64", _empty),
        Case("photo-1024", _photo),
        Case("photo-1024-batch4", _photos),
        Case("txt2img-tiny", _sampled, models=(CHECKPOINT,)),
        Case("steps-20", _steps, models=(CHECKPOINT,)),
        Case("upscale-tiny", _upscaled, models=(UPSCALER,)),
        Case("repeat", _repeated, has_bare=False, is_varied=False),
        Case("mixed", _mixed, 3, (CHECKPOINT, UPSCALER)),
    )
}
FIRST, SAMPLED = BUILT_IN["empty-64"], BUILT_IN["txt2img-tiny"]


def file_cases(files: Iterable[Path]) -> list[Case]:
    """A case for each file, which holds a workflow or a request, or is a picture or video that carries a workflow.

    Raises:
        InvalidJob: a file cannot be read, or holds none of these.
    """
    cases: dict[str, Case] = {}
    for path in files:
        name, same = path.stem, 1
        while name in cases or name in BUILT_IN:
            same += 1
            name = f"{path.stem}-{same}"
        cases[name] = _file_case(name, path)
    return list(cases.values())


def _file_case(name: str, path: Path) -> Case:
    job = _with_api_graph(make_job(path), path)
    given: Request = {
        "images": [{"name": image.name, "image": image.data} for image in job.images],
        "output_format": job.output_format,
        "output_quality": job.output_quality,
        "comfy_org_api_key": job.api_key,
    }
    rest = {key: value for key, value in given.items() if value}

    def request(number: int, _part: int) -> Request:
        return {"workflow": with_seed(job.workflow, number), **rest}

    # No bare executor: it would load the models a second time, which could push the first copy out of the GPU.
    return Case(name, request, has_bare=False, is_varied=with_seed(job.workflow, 1) != with_seed(job.workflow, 2))


def _with_api_graph(job: Job, path: Path) -> Job:
    """``job`` with an API graph, whose seeds can be told. Each contender gets the same one.

    Raises:
        InvalidJob: the workflow of the file cannot be converted.
    """
    if job.is_ready:
        return job
    command = [sys.executable, "-m", "worker", "convert", str(path)]
    converted = subprocess.run(command, capture_output=True, text=True, check=False)
    if converted.returncode:
        raise InvalidJob(converted.stderr.strip() or f"{path} cannot be converted")
    return replace(job, workflow=json.loads(converted.stdout), editor=None, name=None, changes=())


def with_seed(workflow: Graph, number: int) -> Graph:
    """``workflow`` with another value for every whole number that is called ``seed`` or ``noise_seed``."""
    changed = copy.deepcopy(workflow)
    for each in changed.values():
        for name, value in each.get("inputs", {}).items():
            if name in _SEED_NAMES and isinstance(value, int) and not isinstance(value, bool):
                each["inputs"][name] = (value + number) % _SEEDS
    return changed
