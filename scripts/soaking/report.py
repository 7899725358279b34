"""Reports a soak as text and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from soaking.course import Course
from soaking.verdict import Check, latencies, slope_per_thousand


def report(course: Course, checks: Sequence[Check]) -> str:
    """The report that is printed."""
    plan, count = course.plan, len(course.record.jobs)
    machine, versions = course.about["machine"], course.about["versions"]
    lines = [
        f"{count} jobs in {course.seconds:.0f} s, seed {plan.seed}, {plan.concurrency} at once, {plan.backend}; "
        f"{course.faults} uploads refused or cut by the bucket",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; ComfyUI {versions['comfyui']}, "
        f"torch {versions['torch']}, Python {versions['python']}",
    ]
    if count < plan.jobs:
        lines.append(f"--minutes {plan.minutes:g} were over before {plan.jobs} jobs were given")
    lines += ["", f"{'latency':<28}{'jobs':>6}{'median':>10}{'p95':>10}   ms"]
    for kind, values in sorted(latencies(course).items()):
        times = [1000 * seconds for _, seconds in values]
        p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        lines.append(f"{kind:<28}{len(times):>6}{statistics.median(times):>10.0f}{p95:>10.0f}")
    return "\n".join([*lines, "", *map(str, checks)])


def write_json(course: Course, checks: Sequence[Check], path: Path) -> None:
    """Write every figure to ``path`` as JSON."""
    plan = course.plan
    figures = {
        **course.about,
        "jobs": len(course.record.jobs), "seed": plan.seed, "concurrency": plan.concurrency, "backend": plan.backend,
        "seconds": course.seconds,
        "checks": [asdict(check) for check in checks],
        "rss_slope_mb_per_1000": slope_per_thousand(course.rests),
        "rests": [{name: getattr(rest, name) for name in ("job", "at", "rss", "files", "connections", "threads",
                                                           "entries", "open")} for rest in course.rests],
        "samples": [asdict(sample) for sample in course.samples],
        "latencies": latencies(course),
    }  # fmt: skip
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
