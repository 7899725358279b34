"""``scripts/soak``: a short one for real, its jobs and its judgement, and how it refuses."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pictures
import pytest
from soaking.contents import contents, pixels, solid_pixels
from soaking.drafts import all_drafts, probe_job, slow_job, stopped_job
from soaking.drive import BucketFaults, Record
from soaking.jobs import Mix, SoakJob
from soaking.verdict import of_answers, of_memory, of_pixels, slope_per_thousand, unwanted_tracebacks
from soaking.watch import Rest, Sample, longest_silence

ROOT = Path(__file__).resolve().parents[1]


def soak(*arguments: str | Path, timeout: float = 560) -> subprocess.CompletedProcess[str]:
    """``scripts/soak ARGUMENTS``."""
    return subprocess.run(
        [ROOT / "scripts" / "soak", *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.timeout(600)  # Three processes start ComfyUI, one after the other.
def test_sixty_jobs(tmp_path: Path) -> None:
    """All kinds of jobs, and every check but that of RSS, which needs more of them."""
    done = soak("--jobs", "60", "--fresh", "one", "--json", tmp_path / "soak.json", "--plot", tmp_path / "soak.png")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "soak.json").read_text())
    checks = {check["name"]: check["held"] for check in figures["checks"]}
    assert {name for name, held in checks.items() if held is None} == {"delivered", "RSS"}
    assert set(checks) >= {"answered", "stopped", "as expected", "progress", "pixels", "open files", "threads"}
    assert figures["jobs"] == 60
    answered = sum(map(len, figures["latencies"].values()))
    assert answered == 60 - 2, "two are stopped"
    assert [rest["job"] for rest in figures["rests"]] == [10, 60]
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert "58 of 58 jobs" in done.stdout


@pytest.mark.full
@pytest.mark.timeout(5400)
def test_two_thousand_jobs() -> None:
    done = soak("--jobs", "2000", timeout=5300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--jobs", "9"), "'9' is no whole number, 10 or above"),
        (("--minutes", "0"), "'0' is no number of minutes above 0"),
        (("--concurrency", "3"), "invalid choice: 3"),
        (("--backend", "websocket"), "invalid choice: 'websocket'"),
        (("--plot", "soak.jpg"), "its name must end with .png"),
        (("--json", "missing/soak.json"), "there is no such folder"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...], text: str) -> None:
    done = soak(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_cannot_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    done = soak("--jobs", "10")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("soak: the worker did not start: ")
    assert "Traceback" not in done.stderr


def first_jobs(seed: int, count: int, probes: set[int]) -> list[SoakJob]:
    """The first jobs of a seed."""
    return list(itertools.islice(Mix(seed).jobs(probes), count))


def test_the_seed_sets_the_jobs() -> None:
    jobs = first_jobs(3, 600, {10, 100})
    assert jobs == first_jobs(3, 600, {10, 100})
    assert jobs != first_jobs(4, 600, {10, 100})
    assert len({job.id for job in jobs}) == 600
    assert [number for number, job in enumerate(jobs, 1) if job.draft == probe_job()] == [10, 100]
    assert {job.draft.kind for job in jobs} == {*all_drafts(), "unique"}
    names = [draft.name for drafts in all_drafts().values() for draft in drafts]
    assert len(set(names)) == len(names), "a name says which"
    assert set(names) <= {job.draft.name for job in jobs[:100]}, "each comes early"
    assert {0, 403, 500} <= {status for job in jobs for status in job.bucket_faults}
    assert {0, 500} <= {status for job in jobs for status in job.post_faults}


def test_the_bucket_fails_as_planned() -> None:
    faults = BucketFaults()
    faults.plan(SoakJob("one", probe_job(), bucket_faults=(500, 0)))
    assert [faults("PUT", "/pictures/one/a.png?x=1") for _ in range(3)] == [500, 0, None]
    assert faults("PUT", "/pictures/one/b.png") == 500, "each file counts for itself"
    assert faults("PUT", "/pictures/other/a.png") is None
    assert faults("GET", "/pictures/one/a.png") is None
    assert faults.count == 3


def test_pixels_are_compared_not_files() -> None:
    assert pixels(pictures.png("#102030", (4, 3))) == solid_pixels(0x102030, 4, 3)
    assert pixels(pictures.png("#102031", (4, 3))) != solid_pixels(0x102030, 4, 3)
    assert pixels(pictures.png("#102030", (3, 4))) != solid_pixels(0x102030, 4, 3)
    entry = {"type": "s3_url", "data": "somewhere", "media_type": "image/png", "node_id": "2", "filename": "a.png"}
    answer = {"images": [entry], "text": [{"node_id": "3", "text": "said"}]}
    found = contents(answer, lambda url: pictures.png("#102030", (4, 3)))
    assert found == [("images", "2", "a.png", solid_pixels(0x102030, 4, 3)), ("text", "3", "", "said")]


def made_record() -> Record:
    """Three jobs, all as they must be."""
    record = Record(jobs={"a": SoakJob("a", slow_job()), "b": SoakJob("b", stopped_job(1)),
                          "c": SoakJob("c", probe_job())})  # fmt: skip
    record.stopped["b"] = 5.0
    for job_id in ("a", "c"):
        record.answers[job_id], record.answered[job_id] = 1, 6.0
    record.reports["a"] = 1
    return record


def failed(record: Record) -> list[str]:
    """The checks of answers that did not hold."""
    return [check.name for check in of_answers(record) if check.held is False]


def test_what_goes_wrong_with_answers_is_found() -> None:
    assert failed(made_record()) == []
    stopped = next(check for check in of_answers(made_record()) if check.name == "stopped")
    assert "1 of them while they waited" in stopped.text
    lost, twice, heard, silent, wrong = (made_record() for _ in range(5))
    lost.answers["c"] = 0
    twice.answers["c"] = 2
    heard.answers["b"] = 1
    silent.reports.clear()
    wrong.wrong.append("c: wanted one thing, got another")
    found = [failed(record) for record in (lost, twice, heard, silent, wrong)]
    assert found == [["answered"], ["answered"], ["stopped"], ["progress"], ["as expected"]]
    same = [("images", "2", "a.png", "pixels")]
    wrong.results["probe"] = ("c", list(same))
    assert of_pixels(wrong, {"probe": same}).held
    assert of_pixels(wrong, {"probe": [("images", "2", "a.png", "others")]}).held is False


def rest(job: int, rss: float) -> Rest:
    """A measurement."""
    return Rest(job, 0.0, rss, 20, Counter(), 10, 5, Counter(), frozenset())


@pytest.mark.parametrize(("last", "held"), [(1020.0, True), (1040.0, False)])
def test_memory_that_grows_is_found(last: float, held: bool) -> None:
    rests = [rest(100, 700.0), rest(200, 1000.0), rest(1100, 1000.0), rest(2000, last)]
    assert of_memory(rests).held is held
    assert of_memory(rests[:2]).held is None, "too few jobs to tell"
    assert slope_per_thousand([rest(0, 1.0), rest(500, 2.0), rest(1000, 3.0)]) == pytest.approx(2.0)


def test_silence_and_tracebacks_are_found() -> None:
    samples = [Sample(at, 0.0, 0, 0, pings) for at, pings in ((0, 1), (1, 2), (4, 3), (5, 4))]
    assert longest_silence(samples) == 3
    record = made_record()
    record.jobs["f"] = SoakJob("f", next(draft for draft in all_drafts()["failing"]))
    lines: list[dict[str, Any]] = [
        {"requestId": "f", "message": "failed", "traceback": "Traceback …"},
        {"requestId": "c", "message": "all is well"},
        {"requestId": "c", "message": "odd", "traceback": "Traceback …"},
    ]
    log = "\n".join([*map(json.dumps, lines), "Traceback (most recent call last):"])
    assert [line.split(":")[0] for line in unwanted_tracebacks(log, record)] == [
        "line 3, probe",
        "line 4, of no job",
    ]
