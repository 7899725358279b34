"""The queue of the local API by itself: order, turns, limits and retention."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from worker.answer.reply import Reply
from worker.events import Listener
from worker.local_api import jobs as local
from worker.local_api import retention
from worker.local_api.job import LocalJob, State
from worker.local_api.jobs import LocalJobs, QueueFull
from worker.local_api.requests import JobRequest, Policy


class Desk:
    """Jobs whose input is how long they take, in seconds; keeps book of what ran and what ended."""

    def __init__(self, concurrency: int = 1, max_result_bytes: float = 1e9) -> None:
        self.ran: list[str] = []
        self.ended: list[LocalJob] = []
        self.at_once = self.most_at_once = 0
        self.jobs = LocalJobs(self._run, concurrency, max_result_bytes, self.ended.append)

    async def _run(self, raw: dict[str, Any], _: Listener) -> Reply:
        self.ran.append(raw["id"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(raw["input"])
        finally:
            await asyncio.sleep(0.01)  # A node that takes its time to stop.
            self.at_once -= 1
        return Reply(b"x" * 100)

    def submit(self, seconds: float = 0.0, *, sync: bool = False, size: int = 1, timeout_ms: int = 60_000) -> LocalJob:
        policy = Policy.model_construct(executionTimeout=timeout_ms, ttl=60_000)
        return self.jobs.submit(JobRequest.model_construct(input=seconds, policy=policy), size, sync=sync)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_jobs_run_in_order_and_no_more_than_may(concurrency: int) -> None:
    async def test() -> None:
        desk = Desk(concurrency)
        submitted = [desk.submit(0.02) for _ in range(7)]
        for job in submitted:
            await desk.jobs.wait(job, 10)
        assert [job.state for job in submitted] == [State.COMPLETED] * 7
        assert desk.ran == [job.id for job in submitted]
        assert desk.most_at_once == concurrency
        assert desk.ended == submitted

    run(test)


def test_the_next_job_waits_until_a_cancelled_one_has_stopped() -> None:
    async def test() -> None:
        desk = Desk()
        first, second = desk.submit(60), desk.submit()
        await asyncio.sleep(0.01)
        desk.jobs.cancel(first)
        assert first.state is State.CANCELLED, "at once"
        await desk.jobs.wait(second, 10)
        assert (second.state, desk.most_at_once) == (State.COMPLETED, 1)

    run(test)


def test_a_job_cancelled_before_its_first_step_never_runs() -> None:
    async def test() -> None:
        desk = Desk()
        job = desk.submit()
        desk.jobs.cancel(job)
        await asyncio.sleep(0.05)
        assert (desk.ran, job.state, desk.jobs.counts()["inProgress"]) == ([], State.CANCELLED, 0)

    run(test)


def test_a_timed_out_job_is_stopped_and_ends_once() -> None:
    async def test() -> None:
        desk = Desk()
        job = desk.submit(60, timeout_ms=30)
        await desk.jobs.wait(job, 10)
        await asyncio.sleep(0.05)
        assert (job.state, desk.at_once, desk.ended) == (State.TIMED_OUT, 0, [job])

    run(test)


def test_a_queue_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        desk = Desk()
        monkeypatch.setattr(local, "_MAX_QUEUED", 3)
        running = desk.submit(60)
        for _ in range(3):
            desk.submit(60)
        with pytest.raises(QueueFull, match="3 jobs are waiting"):
            desk.submit()
        assert desk.jobs.purge() == 3
        with pytest.raises(QueueFull, match="fill 1000 MB"):
            desk.submit(size=1_000_000_001)
        assert running.state is State.IN_PROGRESS
        await desk.jobs.close()
        assert (running.state, desk.at_once) == (State.CANCELLED, 0)

    run(test)


def test_results_are_kept_for_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(local, "_KEPT_SYNC_S", 0.1)
        desk = Desk(concurrency=2)
        sync, normal = desk.submit(sync=True), desk.submit()
        await desk.jobs.wait(sync, 10)
        assert desk.jobs.get(sync.id) is sync
        await asyncio.sleep(0.2)
        assert desk.jobs.get(sync.id) is None
        assert desk.jobs.get(normal.id) is normal

    run(test)


def test_results_are_bounded_in_bytes_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        desk = Desk(max_result_bytes=250)
        kept = [desk.submit() for _ in range(4)]
        await desk.jobs.wait(kept[-1], 10)
        assert [desk.jobs.get(job.id) is not None for job in kept] == [False, False, True, True]
        monkeypatch.setattr(retention, "_MAX_RESULTS", 1)
        last = desk.submit()
        await desk.jobs.wait(last, 10)
        assert [desk.jobs.get(job.id) is not None for job in [*kept, last]] == [False] * 4 + [True]
        assert desk.jobs.counts()["completed"] == 5

    run(test)


def test_a_ttl_ends_a_job_that_waits() -> None:
    async def test() -> None:
        desk = Desk()
        desk.submit(60)
        waiting = desk.submit()
        desk.jobs.set_ttl(waiting, 50)
        await desk.jobs.wait(waiting, 10)
        assert waiting.state is State.TIMED_OUT
        assert desk.jobs.get(waiting.id) is None
        assert desk.jobs.counts()["inQueue"] == 0
        await desk.jobs.close()

    run(test)
