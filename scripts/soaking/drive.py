"""Gives a worker its jobs, stops some of them as planned, and checks every answer as it comes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
from runpod_api import JobApi, Post
from runpod_worker import WorkerProcess
from s3_server import FaultyS3

from soaking.contents import Content, contents, solid_pixels
from soaking.drafts import IN_ERRORS, STOPPED
from soaking.jobs import SoakJob

_AHEAD = 2  # How many jobs wait at the platform.
_TICK_S = 0.01
_LOST_S = 120.0
_LATE_S = 2.0  # How long to wait for results of stopped jobs, which must not come.


class WorkerGone(Exception):
    """The worker did not start, or has ended. The text says how."""


@dataclass
class Record:
    """What became of the jobs, by job id. Times are by ``time.monotonic``.

    Attributes:
        jobs: the jobs that were given.
        stopped: when each was told to stop.
        answered: when the first answer came.
        answers: number of answers.
        reports: number of progress reports.
        late_reports: ids of jobs that reported progress after their answer.
        refused_posts: number of posts that the platform did not accept.
        urls: number of files that were delivered by URL.
        inline: number of files that were delivered in the answer.
        wrong: a line for each answer that is not as it should be.
        results: by the draft's name, its first job and the contents of the answer.
    """

    jobs: dict[str, SoakJob] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    answers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    reports: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    late_reports: list[str] = field(default_factory=list)
    refused_posts: int = 0
    urls: int = 0
    inline: int = 0
    wrong: list[str] = field(default_factory=list)
    results: dict[str, tuple[str, list[Content]]] = field(default_factory=dict)


class BucketFaults:
    """Decides how the bucket answers an upload, by the job's id in the key and by how often the key was sent."""

    def __init__(self) -> None:
        self._planned: dict[str, tuple[int, ...]] = {}
        self._tries: defaultdict[str, int] = defaultdict(int)
        self.count = 0

    def plan(self, job: SoakJob) -> None:
        """Let the uploads of ``job`` fail as its ``bucket_faults`` say."""
        if job.bucket_faults:
            self._planned[job.id] = job.bucket_faults

    def __call__(self, method: str, path: str) -> int | None:
        if method != "PUT":
            return None
        key = path.partition("?")[0]
        planned = self._planned.get(key.split("/")[2], ())
        number = self._tries[key]
        self._tries[key] += 1
        if number >= len(planned):
            return None
        self.count += 1
        return planned[number]


class Driver:
    """Drives ``worker``, whose files go to ``bucket``."""

    def __init__(self, worker: WorkerProcess, bucket: FaultyS3) -> None:
        self._worker = worker
        self._api: JobApi = worker.api
        self._session = requests.Session()
        self._seen = 0
        self._due: dict[str, SoakJob] = {}
        self.faults = BucketFaults()
        bucket.fault = self.faults
        self.record = Record()

    def run(self, jobs: Iterator[SoakJob], count: int, end: float, told: Callable[[int], None]) -> None:
        """Give ``count`` jobs, or as many as can be given before ``end`` (by ``time.monotonic``), and wait for them.

        Raises:
            WorkerGone: the worker has ended.
        """
        given = 0
        moved = time.monotonic()
        while (given < count and time.monotonic() < end) or self._due:
            while given < count and time.monotonic() < end and len(self._api.queue) < _AHEAD:
                self._give(next(jobs))
                given += 1
            before = len(self._due), given
            self._step()
            told(len(self.record.jobs) - len(self._due))
            if (len(self._due), given) != before:
                moved = time.monotonic()
            if time.monotonic() - moved > _LOST_S:
                self._due.clear()  # These jobs are lost, and the verdict will name them.

    def finish(self) -> None:
        """Wait for results and reports that come late, and note them."""
        end = time.monotonic() + _LATE_S
        while time.monotonic() < end:
            self._step()

    def _give(self, job: SoakJob) -> None:
        self.record.jobs[job.id] = self._due[job.id] = job
        self.faults.plan(job)
        self._api.answers += job.post_faults
        self._api.give(job.id, job.draft.request)

    def _step(self) -> None:
        if self._worker.process.poll() is not None:
            last = self._worker.log().splitlines()[-1:]
            raise WorkerGone(f"the worker ended with {self._worker.process.returncode}: {''.join(last)[:300]}")
        with self._api.changed:
            if self._seen == len(self._api.posts):
                self._api.changed.wait(_TICK_S)
            posts = self._api.posts[self._seen :]
            self._seen += len(posts)
        for post in posts:
            self._look_at(post)
        self._stop_due()

    def _stop_due(self) -> None:
        for job in [job for job in self._due.values() if job.draft.stop_after_s is not None]:
            taken = self._api.taken.get(job.id)
            if taken is not None and time.monotonic() - taken >= (job.draft.stop_after_s or 0):
                self.record.stopped[job.id] = time.monotonic()
                self._api.stop(job.id)
                del self._due[job.id]

    def _look_at(self, post: Post) -> None:
        record, job = self.record, self.record.jobs[post.job_id]
        if post.body.get("status") == "IN_PROGRESS":
            record.reports[job.id] += 1
            if record.answers[job.id]:
                record.late_reports.append(job.id)
        elif post.status != 200:
            record.refused_posts += 1
        else:
            record.answers[job.id] += 1
            record.answered.setdefault(job.id, post.at)
            self._due.pop(job.id, None)
            fault = self._fault(job, {**post.body, **post.body.get("output", {})})
            if fault:
                record.wrong.append(f"{job.id} ({job.draft.kind}, {job.draft.name}): {fault}")
        post.body = {key: post.body[key] for key in ("status",) if key in post.body}  # Bodies would fill the memory.

    def _fault(self, job: SoakJob, answer: dict[str, Any]) -> str | None:
        """What is wrong with the answer to ``job``; None if nothing is."""
        draft, shown = job.draft, str(answer)[:300]
        if draft.error_type == STOPPED:
            return f"it was stopped, and answered with {shown}"
        if answer.get("error_type") != (None if draft.error_type == IN_ERRORS else draft.error_type):
            return f"wanted error_type {draft.error_type}, got {shown}"
        if draft.error_type == IN_ERRORS and "errors" not in answer:
            return f"wanted errors, got {shown}"
        found = contents(answer, self._fetched)
        if bool(found) != draft.has_files and answer.get("status") != "success_no_images":
            return f"wanted {'' if draft.has_files else 'no '}files, got {shown}"
        return self._delivery_fault(job, answer) or self._content_fault(job, found)

    def _delivery_fault(self, job: SoakJob, answer: dict[str, Any]) -> str | None:
        entries = [*answer.get("images", ()), *answer.get("files", ())]
        kinds = [entry["type"] for entry in entries]
        self.record.urls += kinds.count("s3_url")
        self.record.inline += kinds.count("base64")
        wanted = "base64" if job.misses_bucket else "s3_url"
        if any(kind != wanted for kind in kinds):
            return f"wanted {wanted}, got {kinds} with {answer.get('errors')}"
        told = [line for line in answer.get("errors", ()) if "could not be stored in the bucket" in line]
        if len(told) != (len(kinds) if job.misses_bucket else 0):
            return f"wanted a line for each file that the bucket did not take, got {told}"
        if job.draft.error_type is None and len(answer.get("errors", ())) != len(told):
            return f"wanted no other errors, got {answer['errors']}"
        return None

    def _content_fault(self, job: SoakJob, found: list[Content]) -> str | None:
        draft = job.draft
        if draft.color is not None:
            size = draft.request["workflow"]["1"]["inputs"]
            wanted = [("images", "2", "ComfyUI_00001_.png", solid_pixels(draft.color, size["width"], size["height"]))]
            return None if found == wanted else f"wanted {wanted}, got {found}"
        if draft.error_type is None:
            first_id, first = self.record.results.setdefault(draft.name, (job.id, found))
            return None if found == first else f"{first_id}, an equal job, gave {first}, and this one {found}"
        return None

    def _fetched(self, url: str) -> bytes:
        response = self._session.get(url, timeout=30)
        response.raise_for_status()
        return response.content
