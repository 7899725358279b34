"""Hostile and broken jobs through the real handler: each ends in an answer that tells nothing, and touches nothing."""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import graphs
import hostile
import hostile_corpus
import pytest
from file_watch import AuditedFiles
from firing_range import Range, Secrets
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings

from worker import Worker
from worker.handler import make_handler

pytest_plugins = ["firing_range"]


def shoot(worker: Worker, shooting: Range, secrets: Secrets, count: int, number: int) -> None:
    """Fire ``count`` jobs that Hypothesis makes up, the same ones each time for a ``number``."""
    nodes = sys.modules["nodes"]
    jobs = hostile.Jobs(hostile.node_classes(nodes.NODE_CLASS_MAPPINGS), secrets.names(worker))
    start = time.monotonic()
    for strategy, share in ((jobs.valid(), count * 4 // 5), (jobs.arbitrary(), count // 5)):
        how = hypothesis_settings(
            max_examples=share,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
        )

        @seed(number)
        @how
        @given(strategy)
        def fire(job: hostile.Job) -> None:
            shooting.fire(job)

        fire()
    counts = shooting.counts
    print(shooting.report(time.monotonic() - start))  # noqa: T201 - shown by pytest -s.
    assert counts["jobs"] >= count
    assert shooting.reached() >= counts["jobs"] / 2
    assert counts["ran nodes"] >= counts["jobs"] / 5


def test_eight_hundred_jobs(worker: Worker, shooting: Range, secrets: Secrets) -> None:
    shoot(worker, shooting, secrets, 800, 1)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_twenty_thousand_jobs(worker: Worker, shooting: Range, secrets: Secrets) -> None:
    for number in range(2, 12):  # Hypothesis remembers all that it has tried, and gets slower.
        shoot(worker, shooting, secrets, 2000, number)


def test_corpus(shooting: Range) -> None:
    wrong = []
    for name, job, expected in hostile_corpus.corpus():
        outcome = hostile_corpus.outcome(shooting.fire(job))
        if expected not in outcome:
            wrong.append(f"{name}: {expected!r} is not in {outcome[:500]!r}")
    assert not wrong, "\n".join(wrong)


def test_a_huge_job_does_not_hold_up_the_others(worker: Worker) -> None:
    """The platform hears of the other jobs on the same event loop."""
    file = {"name": "in.png", "image": "QUJD" * 26_214_400}
    job = {"input": {"workflow": graphs.load("in.png"), "images": [file]}}
    gaps = [0.0]

    async def watch() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    async def run() -> dict[str, Any]:
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        try:
            return await make_handler(worker)(job)
        finally:
            watching.cancel()

    assert asyncio.run(run())["error_type"] == "invalid_image"
    assert max(gaps) < 1.0


def test_the_file_watch_sees(audited: AuditedFiles, worker: Worker, secrets: Secrets, tmp_path: Path) -> None:
    """What the other tests rely on."""
    audited.offences[:] = []
    audited.active = True
    try:
        (tmp_path / "a").write_text("x")
        (tmp_path / "b").symlink_to(worker.state.output)
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "d").mkdir()
        shutil.rmtree(tmp_path / "d")
        secrets.files[0].read_bytes()
        inside = worker.state.output / "a"
        inside.write_text("x")
        inside.unlink()
    finally:
        audited.active = False
    found = [offence.split(" ")[0] for offence in audited.offences]
    assert found == ["open", "os.symlink", "os.rename", "os.rename", "os.mkdir", "os.rmdir", "read"]


@pytest.mark.parametrize("more", [{}, {"comfy_org_api_key": hostile.CALLERS_KEY}])
def test_no_key_is_in_the_log(shooting: Range, log: io.StringIO, more: dict[str, str]) -> None:
    """Also where nodes log the key that they were given, or raise it, and at DEBUG."""
    for graph, logged in (
        (graphs.through("TestLogs", text="x"), "said x with key ********"),
        (graphs.through("TestRaises"), "secret.bin with ********"),
        (graphs.through("TestRaises", kind="SystemExit"), "secret.bin with ********"),
    ):
        shooting.fire({"id": "job-1", "input": {"workflow": graph, **more}})
        assert logged in log.getvalue()
    assert "Traceback" in log.getvalue()


def test_a_text_shows_a_caller_s_key_and_not_the_operator_s(shooting: Range) -> None:
    job = {"workflow": {"1": graphs.node("TestShowsText", text="key={key}")}}
    assert [text["text"] for text in shooting.fire({"input": job})["text"]] == ["key=********"]
    own = {**job, "comfy_org_api_key": hostile.CALLERS_KEY}
    assert [text["text"] for text in shooting.fire({"input": own})["text"]] == [f"key={hostile.CALLERS_KEY}"]
