"""Hostile values for every input of every node class of ComfyUI's own, by every route, made from ``INPUT_TYPES``.

To run one job again, or some, with the seed and the numbers that a failure names:
``HOSTILE_JOBS=SEED:FIRST-LAST .venv/bin/python -m pytest -s tests/test_hostile_nodes.py -k given``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable

import firing_range
import hostile_bombs
import pytest
from core_nodes import core_nodes
from entered import Entered
from firing_range import VICTIMS_SHADE, Range, Secrets
from hostile_nodes import NodeJob, NodeJobs, staged_files

from worker import Worker

pytest_plugins = ["firing_range"]
_VICTIM_EACH = 4  # Before each such job, another caller sends the same one with files.
_SHOWN = 20
_JOB_MB = 400
_ANY_JOB_MB = 1200
_SAMPLE = 400  # About two thirds of them load no model; only these are fired.
_MANY = 32_000  # The same, and of the others every 20th: more than 20,000.
_HEAVY_EACH = 20


@pytest.fixture
def entered(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Entered:
    assert worker.runtime is not None
    return Entered(sys.modules["nodes"].NODE_CLASS_MAPPINGS, monkeypatch)


def jobs_of(worker: Worker, secrets: Secrets, seed: int) -> NodeJobs:
    """The jobs of a seed, on the running ComfyUI."""
    return NodeJobs(sys.modules["nodes"].NODE_CLASS_MAPPINGS, secrets.names(worker), seed)


def limit_memory(worker: Worker, monkeypatch: pytest.MonkeyPatch, mb: int) -> None:
    """Set ``MAX_JOB_MB``. Seen from outside a job may take a little more, since its memory is looked at in turns."""
    memory = worker.embedded_runtime().job_memory
    monkeypatch.setattr(memory, "limits", dataclasses.replace(memory.limits, job=mb * 1_000_000))
    monkeypatch.setattr(firing_range, "LARGEST_MB", mb + 300.0)


@pytest.fixture
def bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(worker, monkeypatch, _ANY_JOB_MB)


def is_fired(job: NodeJob) -> bool:
    """Whether a job belongs to the many. One that loads a model takes as long as thirty others."""
    return job.is_cheap or job.number % _HEAVY_EACH == 0


def fire_all(worker: Worker, shooting: Range, jobs: Iterable[NodeJob]) -> list[str]:
    """Fire the jobs. Returns what is wrong, one text for each job, with the seed and the number that make it."""
    wrong: list[str] = []
    for job in jobs:
        request = job.request()
        if job.number % _VICTIM_EACH == 0:
            shooting.answer({"id": "a", "input": {**job.request()["input"], "images": staged_files(VICTIMS_SHADE)}})
        answer, problems = shooting.examine(request)
        if problems:
            shown = f"graph: {json.dumps(job.graph):.1500}\n  answer: {answer!r:.800}"
            wrong.append(f"HOSTILE_JOBS={job.seed}:{job.number} {job}: {problems}\n  {shown}")
            print(wrong[-1], flush=True)  # noqa: T201 - shown by pytest -s.
        if worker.life.failure is not None or len(wrong) > _SHOWN:
            break
    return wrong


@pytest.mark.usefixtures("tiny_checkpoint", "bounded")
def test_a_sample(worker: Worker, shooting: Range, secrets: Secrets, entered: Entered) -> None:
    jobs = map(jobs_of(worker, secrets, 1).make, range(_SAMPLE))
    wrong = fire_all(worker, shooting, (job for job in jobs if job.is_cheap))
    assert not wrong, "\n".join(wrong)
    counts = shooting.counts
    print(counts, len(entered.names), "classes ran")  # noqa: T201 - shown by pytest -s.
    assert counts["ran nodes"] >= counts["jobs"] / 2


@pytest.mark.full
@pytest.mark.usefixtures("tiny_checkpoint", "bounded")
@pytest.mark.timeout(7200)
def test_twenty_thousand_jobs(worker: Worker, shooting: Range, secrets: Secrets, entered: Entered) -> None:
    wrong = fire_all(worker, shooting, filter(is_fired, map(jobs_of(worker, secrets, 2).make, range(_MANY))))
    assert not wrong, "\n".join(wrong)
    assert shooting.counts["jobs"] >= 20_000
    names = {node.name for node in core_nodes(sys.modules["nodes"].NODE_CLASS_MAPPINGS)}
    assert len(names & entered.names) >= 0.9 * len(names), sorted(names - entered.names)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.full) for part in range(1, 20))])
def test_no_text_keeps_the_lock(worker: Worker, shooting: Range, part: int) -> None:
    bombs = list(hostile_bombs.lock_bombs(core_nodes(sys.modules["nodes"].NODE_CLASS_MAPPINGS)))[part::20]
    assert len(bombs) > 20
    wrong = [f"{name}: {problems}" for name, job in bombs if (problems := shooting.examine(job)[1])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_node_takes_more_memory_than_a_job_may(
    worker: Worker, shooting: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(worker, monkeypatch, _JOB_MB)
    bombs = list(hostile_bombs.memory_bombs(core_nodes(sys.modules["nodes"].NODE_CLASS_MAPPINGS), 4 * _JOB_MB))
    assert len(bombs) > 20
    wrong = [f"{name}: {problems}" for name, job in bombs if (problems := shooting.examine(job)[1])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("tiny_checkpoint", "bounded")
@pytest.mark.skipif("HOSTILE_JOBS" not in os.environ, reason="runs the jobs that HOSTILE_JOBS names")
@pytest.mark.timeout(7200)
def test_the_given_jobs(worker: Worker, shooting: Range, secrets: Secrets, entered: Entered) -> None:
    seed, _, numbers = os.environ["HOSTILE_JOBS"].partition(":")
    first, _, last = numbers.partition("-")
    began = time.monotonic()
    jobs = map(jobs_of(worker, secrets, int(seed)).make, range(int(first), int(last or first) + 1))
    wrong = fire_all(worker, shooting, jobs if first == last or not last else filter(is_fired, jobs))
    names = {node.name for node in core_nodes(sys.modules["nodes"].NODE_CLASS_MAPPINGS)}
    missed = sorted(names - entered.names)
    print(shooting.report(time.monotonic() - began))  # noqa: T201 - shown by pytest -s.
    print(f"{len(names) - len(missed)} of {len(names)} classes ran; not: {missed}")  # noqa: T201
    assert not wrong, "\n".join(wrong)
