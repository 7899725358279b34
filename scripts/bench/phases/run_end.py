"""Measures the end of ``python -m worker run``: from the moment when its result is written until it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.contenders.contender import AGAINST
from bench.contenders.process import PROJECT, ContenderFailed
from bench.contenders.setup import EMBEDDED
from bench.plan import Plan
from bench.workload.cases import FIRST

_LANE = "run-end"


def measure_run_ends(plan: Plan) -> Iterator[dict[str, list[float]]]:
    """The seconds so far of each checkout, after each turn. A checkout that fails is left out."""
    ends: dict[str, list[float]] = {name: [] for name in plan.contenders if name in (EMBEDDED, AGAINST)}
    plan.progress.begin("ends of 'run'", plan.counts.starts * len(ends))
    for number in range(plan.counts.starts):
        for name in list(ends):
            seconds = plan.attempt(_LANE, name, partial(_measured, plan, name, number))
            if seconds is None:
                del ends[name]
            else:
                ends[name].append(seconds)
            plan.progress.advance()
        yield ends


def _measured(plan: Plan, name: str, number: int) -> float:
    project = plan.setup.against if name == AGAINST and plan.setup.against else PROJECT
    variables = plan.setup.environment(EMBEDDED, **(plan.setup.against_env if name == AGAINST else {}))
    with tempfile.TemporaryDirectory() as scratch:
        workflow, out = Path(scratch, "workflow.json"), Path(scratch, "out")
        workflow.write_text(json.dumps(FIRST.request(number, 0)))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "worker", "run", workflow, "--out", out],
            env=variables | {"PYTHONPATH": os.pathsep.join([str(project), variables.get("PYTHONPATH", "")])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        ended = time.time()
        if done.returncode:
            raise ContenderFailed(f"'run' ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        return ended - max(path.stat().st_mtime for path in out.iterdir())
