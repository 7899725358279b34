"""Judges a soak: makes checks of answers, memory, open files and the process, each with its figures."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soaking.contents import Content
from soaking.course import Course
from soaking.drafts import IN_ERRORS, STOPPED
from soaking.drive import Record
from soaking.watch import Rest, longest_silence
from worker.bucket.bucket import CONNECTIONS

RSS_FROM, _FILES_FROM = 200, 10
_RSS_JOBS = 1000  # With fewer jobs, a pool that fills looks like a leak.
RSS_LIMIT = 0.03
_SILENCE_S = 5.0
_POOL = min(32, (os.cpu_count() or 1) + 4)  # Threads that asyncio's pool has at most.
_SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One check and its outcome. ``held``: whether it passed; None if it was not judged."""

    name: str
    held: bool | None
    text: str

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[self.held]
        return f"{mark} {self.name}: {self.text}"


def judge(course: Course) -> list[Check]:
    """All checks except the check of pixels."""
    return [
        *of_answers(course.record), of_memory(course.rests), *of_holdings(course), *of_process(course),
    ]  # fmt: skip


def of_answers(record: Record) -> list[Check]:
    """Check that no job was lost, answered twice, or answered after its stop, and that each answer was right."""
    due = [job_id for job_id in record.jobs if job_id not in record.stopped]
    lost = [job_id for job_id in due if not record.answers[job_id]]
    twice = [job_id for job_id, count in record.answers.items() if count > 1]
    heard = [job_id for job_id in record.stopped if record.answers[job_id]]
    slow = [job_id for job_id, job in record.jobs.items() if job.draft.is_slow]
    silent = [job_id for job_id in slow if not record.reports[job_id]]
    outcomes = f"{len(due) - len(lost)} of {len(due)} jobs, {record.refused_posts} posts refused before one was taken"
    return [
        Check("answered", not lost and not twice, outcomes + _named("lost", lost) + _named("twice", twice)),
        Check("stopped", not heard, f"{len(record.stopped)} jobs, {_in_line(record)} of them while they waited for "
              f"another; {len(heard)} have a result" + _named("these", heard)),
        Check("as expected", not record.wrong, f"{_kinds(record)}; {len(record.wrong)} otherwise"
              + _named("these", record.wrong)),
        Check("delivered", None, f"{record.urls} files by URL, {record.inline} in the answer"),
        Check("progress", not silent and not record.late_reports, f"{len(slow)} slow jobs, {len(silent)} without a "
              f"report, {len(record.late_reports)} reports after the result" + _named("silent", silent)),
    ]  # fmt: skip


def of_pixels(record: Record, fresh: Mapping[str, Sequence[Content]]) -> Check:
    """Check that every graph gave what it gives in a fresh process."""
    differ = [name for name, (_, found) in record.results.items() if found != list(fresh[name])]
    unique = sum(job.draft.color is not None for job in record.jobs.values())
    text = f"{len(record.results)} distinct graphs beside fresh processes, {len(differ)} differ; {unique} pictures of "
    return Check("pixels", not differ, f"{text}a colour of their own beside the colour" + _named("differ", differ))


def of_memory(rests: Sequence[Rest]) -> Check:
    """Check that RSS at the end is close to RSS after job 200."""
    later = [rest for rest in rests if rest.job >= RSS_FROM] or [rests[-1]]
    first, last = later[0], later[-1]
    growth = last.rss / first.rss - 1
    text = f"{first.rss:.1f} MB after job {first.job}, {last.rss:.1f} MB after job {last.job}: {growth:+.1%}"
    slope = slope_per_thousand(later)
    if slope is not None:
        text += f", {slope:+.1f} MB in a thousand jobs"
    if last.job < _RSS_JOBS:
        return Check("RSS", None, f"{text}; not judged below {_RSS_JOBS} jobs")
    return Check("RSS", abs(growth) <= RSS_LIMIT, f"{text} (limit {RSS_LIMIT:.0%})")


def slope_per_thousand(rests: Sequence[Rest]) -> float | None:
    """Growth of RSS in MB per thousand jobs, by least squares; None for fewer than three measurements."""
    if len(rests) < 3:
        return None
    return statistics.linear_regression([rest.job for rest in rests], [rest.rss for rest in rests]).slope * 1000


def of_holdings(course: Course) -> list[Check]:
    """Check that open files, threads and folders are no more than after job 10, and connections within limits."""
    rests = course.rests
    first, last = next((rest for rest in rests if rest.job >= _FILES_FROM), rests[0]), rests[-1]
    moved = [f"{last.open[name] - first.open[name]:+d} {name}" for name in first.open | last.open]
    moved = [text for text in moved if not text.startswith("+0")]
    added = sorted(last.names - first.names)
    pools = {"the bucket": 2 * CONNECTIONS, "the platform": 2 + 2 * course.plan.concurrency}
    kept = {name: max(rest.connections[name] for rest in rests) for name in pools}
    return [
        _same("open files", first, last, first.files, last.files, moved),
        _threads(first, last),
        _same("files and folders", first, last, first.entries, last.entries, added),
        Check("connections", all(kept[name] <= most for name, most in pools.items()), "kept open, at most: "
              + ", ".join(f"{kept[name]} to {name} (limit {most})" for name, most in pools.items())),
    ]  # fmt: skip


def _same(name: str, first: Rest, last: Rest, before: int, after: int, news: Sequence[str] = ()) -> Check:
    text = f"{before} after job {first.job}, {after} after job {last.job}"
    return Check(name, after <= before, text + (_named("now", news) if after > before else ""))


def _threads(first: Rest, last: Rest) -> Check:
    """Check that threads do not grow. The event loop's pool may still, since it adds a thread when all are busy."""
    text = f"{first.threads} after job {first.job}, {last.threads} after job {last.job}"
    return Check("threads", last.threads <= first.threads + _POOL, f"{text} (limit {_POOL} more, for the loop's pool)")


def of_process(course: Course) -> list[Check]:
    """Check the worker's heartbeats, its log and its end."""
    samples, odd, left = course.samples, unwanted_tracebacks(course.log, course.record), course.left
    silence, beats = longest_silence(samples), samples[-1].pings - samples[0].pings
    return [
        Check("heartbeats", silence < _SILENCE_S and not course.held, f"{beats} in {samples[-1].at:.0f} s, "
              f"{silence:.1f} s between two at most (limit {_SILENCE_S:g} s); the last names {len(course.held)} jobs"
              + _named("these", course.held)),
        Check("log", not odd, f"{len(course.log.splitlines())} lines, {len(odd)} tracebacks that no node caused on "
              "purpose" + _named("these", odd)),
        Check("end", course.exit_code == 0 and not left, f"exit code {course.exit_code} after SIGTERM, {len(left)} "
              "files and folders left" + _named("these", left)),
    ]  # fmt: skip


def unwanted_tracebacks(log: str, record: Record) -> list[str]:
    """A line for each traceback in the log that no failing node caused."""
    found = []
    for number, text in enumerate(log.splitlines(), 1):
        if "Traceback" not in text and '"traceback"' not in text:
            continue
        try:
            line = json.loads(text)
        except ValueError:
            line = {"message": text}
        job = record.jobs.get(line.get("requestId", ""))
        if job is None or job.draft.kind != "failing":
            found.append(f"line {number}, {job.draft.name if job else 'of no job'}: {line['message'][:200]}")
    return found


def latencies(course: Course) -> dict[str, list[tuple[float, float]]]:
    """For each answer, by kind of job: seconds from the soak's start to it, and from its job's hand-out to it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for job_id, at in course.record.answered.items():
        job = course.record.jobs[job_id]
        hindered = any(status != 403 for status in (*job.bucket_faults, *job.post_faults))
        kind = "bucket or platform failed" if hindered else job.draft.kind
        found.setdefault(kind, []).append((at - course.began, at - course.taken[job_id]))
    return found


def _kinds(record: Record) -> str:
    """How many jobs were to end in which way, in words."""
    errors = {None: "good", IN_ERRORS: "good in part", STOPPED: "stopped"}
    count = Counter(errors.get(job.draft.error_type, job.draft.error_type) for job in record.jobs.values())
    return ", ".join(f"{number} {name}" for name, number in count.most_common())


def _in_line(record: Record) -> int:
    """How many jobs were stopped while the job before them still ran."""
    ids = list(record.jobs)
    before = {job_id: ids[number - 1] for number, job_id in enumerate(ids) if number}
    return sum(
        record.jobs[before[job_id]].draft.is_slow and record.answered.get(before[job_id], 0) > at
        for job_id, at in record.stopped.items()
        if job_id in before
    )


def _named(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; {what}: " + ", ".join(names[:_SHOWN]) + more
