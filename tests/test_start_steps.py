"""What a start tells of its steps: ``worker.start_steps``, the line in the log, and ``check --timings``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import graphs
import pytest

from worker.start_steps import Steps

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_step_within_another_counts_once() -> None:
    steps = Steps()
    start = time.perf_counter()
    with steps.step("nodes"):
        with steps.step("cuda"):
            time.sleep(0.02)
        steps.add("pack a", 0.0)
        time.sleep(0.01)
    with steps.step("cuda"):
        time.sleep(0.01)
    took = time.perf_counter() - start
    assert list(steps.seconds) == ["cuda", "pack a", "nodes"]
    assert steps.seconds["cuda"] >= 0.03
    assert steps.seconds["nodes"] >= 0.01
    assert sum(steps.seconds.values()) <= took


def test_a_step_that_fails_is_counted() -> None:
    steps = Steps()
    with pytest.raises(ZeroDivisionError), steps.step("core"):
        raise ZeroDivisionError
    assert list(steps.seconds) == ["core"]


def test_what_is_left_over_is_the_rest() -> None:
    steps = Steps()
    steps.add("torch", 2.0)
    steps.add("find", 0.001)
    assert steps.shown(3.0) == {"torch": 2.0, "rest": 1.0}
    assert steps.total() is None, "in a notebook the process is far older than its start"
    steps.begin_with_process()
    total = steps.total()
    assert total is not None
    assert total >= steps.seconds["interpreter"] > 0


def test_an_import_is_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where somebody has asked for its spec before, as ComfyUI does of torch."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.02)\n")
    monkeypatch.syspath_prepend(tmp_path)
    steps, finders = Steps(), list(sys.meta_path)
    with steps.step("core"), steps.import_as_step("slow_module"):
        assert find_spec("slow_module") is not None
        import slow_module  # type: ignore[import-not-found]
    assert list(steps.seconds) == ["slow_module", "core"]
    assert steps.seconds["slow_module"] >= 0.02
    assert sys.meta_path == finders
    assert vars(slow_module.__loader__).keys() == {"name", "path"}, "the loader is Python's own again"
    with steps.step("core"), steps.import_as_step("slow_module"):
        pass
    assert sys.meta_path == finders
    del sys.modules["slow_module"]


def test_check_prints_the_steps(command: Command, tmp_path: Path) -> None:
    warm_up = tmp_path / "warm_up.json"
    warm_up.write_text(json.dumps(graphs.solid()))
    answer = command("check", "--timings", WARMUP_WORKFLOW=str(warm_up))
    assert answer.returncode == 0, answer.stderr
    rows = re.findall(r"^ *(.+?) +│ +([\d.]+) *$", answer.stdout, re.MULTILINE)
    found = {name: float(seconds) for name, seconds in rows}
    assert found.keys() >= {"interpreter", "worker", "sdk", "torch", "core", "nodes", "rest", "total"}
    assert {"pack test_nodes", "warm-up"} <= found.keys()
    total = found.pop("total")
    assert sum(found.values()) == pytest.approx(total, abs=0.1)
    assert found["rest"] < total / 2
