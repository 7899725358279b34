"""Hostile and broken jobs through the real handler: each ends in an answer that tells nothing, and touches nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import shutil
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import hostile
import hostile_corpus
import pytest
from file_watch import AuditedFiles, Snapshot, differences, snapshot
from hostile_files import MARK, hostile_files
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from PIL import Image
from pydantic import SecretStr

from worker import Worker
from worker.errors import InvalidJob
from worker.events import Event, NodeStarted
from worker.handler import make_handler
from worker.job.parse import parse_job
from worker.logs import set_up_logging

OPERATORS_KEYS = ("operators-canary-key-4713", "operators-canary-id-4714", "operators-canary-secret-4715")
CANARY = "canary-content-4716"
CANARY_SIZE = (13, 17)
LONGEST_S = 20.0
# Of the project: what other programs write.
LEFT_OUT = (".git", ".hypothesis", ".venv", ".pytest_cache", ".ruff_cache", ".mypy_cache", "__pycache__", "vendor")
GOOD = graphs.solid(0x123456)


class Secrets:
    """Files that no job may reach, where a name with ``../`` or an absolute one would lead."""

    def __init__(self, worker: Worker, tmp_path: Path) -> None:
        state = worker.state
        self.outside = state.root.parent / f"canary-{uuid.uuid4().hex}"
        self.neighbour = state.new_workspace()
        self.folders = [tmp_path / "canary", self.outside, self.neighbour.root / "input"]
        self.files: list[Path] = []
        buffer = io.BytesIO()
        Image.new("RGB", CANARY_SIZE, (1, 2, 3)).save(buffer, "PNG")
        latent = hostile_files()["good.latent"]
        for folder in self.folders:
            folder.mkdir()
            contents = {
                "s.png": buffer.getvalue(),
                "s.txt": CANARY.encode(),
                "s.latent": latent + CANARY.encode(),
            }
            for name, content in contents.items():
                (folder / name).write_bytes(content)
                self.files.append(folder / name)

    def names(self, worker: Worker) -> list[str]:
        """How a job would name them: relative, and absolute but for the worker's own folder, which no caller knows."""
        relative = [os.path.relpath(path, worker.state.input) for path in self.files]
        return [*relative, *(str(path) for path in self.files if path.parent == self.folders[0])]

    def remove(self) -> None:
        shutil.rmtree(self.outside)
        self.neighbour.close()


def _shown(job: hostile.Job) -> str:
    try:
        return json.dumps(job, default=repr)
    except RecursionError:
        return "a job that is nested too deep to be shown"


class Range:
    """The handler under watch. ``fire`` gives it one job and checks everything that one job can show."""

    def __init__(
        self, worker: Worker, audited: AuditedFiles, log: io.StringIO, places: list[Path], folders: list[Path]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._worker, self._audited, self._log = worker, audited, log
        self._places = places  # Of the machine: no answer names them.
        self._folders = folders  # Nobody writes there.
        self._runner = asyncio.Runner()
        self._handle = make_handler(worker, self._on_event)
        self._ran = self._validated = 0
        self._state = {path.name for path in worker.state.root.iterdir()}
        self._kept = set(worker.state.input.rglob("*"))  # Static files.
        self._jobs = set((worker.state.root / "jobs").iterdir())
        self.seen = self._seen()

    def close(self) -> None:
        self._runner.close()

    def validates(self, *_: object) -> None:
        """A graph has come to ComfyUI's validation."""
        self._validated += 1

    def _on_event(self, event: Event) -> None:
        self._ran += isinstance(event, NodeStarted)

    def answer(self, job: hostile.Job) -> dict[str, Any]:
        """The answer to ``job``; the file system is watched."""
        self._audited.active = True
        try:
            return self._runner.run(self._handle(job))
        finally:
            self._audited.active = False

    def fire(self, job: hostile.Job) -> dict[str, Any]:
        """Give ``job`` to the handler; AssertionError with the job as JSON where anything is wrong."""
        self._ran, self._validated, self._audited.offences[:] = 0, 0, []
        self._log.seek(0)
        self._log.truncate()
        start = time.monotonic()
        answer = self.answer(job)
        seconds = time.monotonic() - start
        problems = [*self._of_the_answer(answer), *self._of_the_log(), *self._of_the_files()]
        if seconds > LONGEST_S:
            problems.append(f"it took {seconds:.1f} s")
        self._count(job, answer)
        assert not problems, f"{problems}\njob: {_shown(job)[:4000]}\nanswer: {answer!r:.2000}"
        return answer

    def _of_the_answer(self, answer: Any) -> Iterator[str]:
        if not isinstance(answer, dict) or not ({"error", "images", "status"} & answer.keys()):
            yield "no answer"
            return
        try:
            text = json.dumps(answer, allow_nan=False, ensure_ascii=False)
            text.encode()
        except (TypeError, ValueError) as error:
            yield f"an answer that cannot be sent: {error}"
            return
        if answer.get("error_type") in ("internal", "backend"):
            yield "an answer that nobody foresaw"
        for files in (answer.get("images") or [], answer.get("files") or []):
            for entry in files:
                content = base64.b64decode(entry["data"], validate=True)
                text += content.decode("latin-1")
                if content.startswith(b"\x89PNG") and Image.open(io.BytesIO(content)).size == CANARY_SIZE:
                    yield "a picture that is none of the job's"
        yield from (f"{word!r} in the answer" for word in self._forbidden() if word in text)

    def _forbidden(self) -> list[str]:
        secrets = [
            *OPERATORS_KEYS,
            hostile.CALLERS_BUCKET_KEY,
            CANARY,
            "Traceback (most",
            'File "/',
            "root:x:0:",
            "PATH=",
        ]
        return [*secrets, *map(str, self._places)]

    def _of_the_log(self) -> Iterator[str]:
        text = self._log.getvalue()
        secrets = [*OPERATORS_KEYS, hostile.CALLERS_KEY, hostile.CALLERS_BUCKET_KEY]
        yield from (f"{secret!r} in the log" for secret in secrets if secret in text)
        yield from (f"a line of {len(line)} characters in the log" for line in text.splitlines() if len(line) > 200_000)

    def _of_the_files(self) -> Iterator[str]:
        yield from self._audited.offences
        state = self._worker.state
        for folder in (state.output, state.temp, state.input):
            left = (path for path in folder.rglob("*") if not path.is_dir() and path not in self._kept)
            yield from (f"{path} is left" for path in left)
        yield from (f"{path} is left" for path in set((state.root / "jobs").iterdir()) - self._jobs)
        yield from (f"{path} is new" for path in state.root.iterdir() if path.name not in self._state)
        seen = self._seen()
        yield from differences(self.seen, seen)
        self.seen = seen

    def _seen(self) -> Snapshot:
        """What lies near: cheap enough to be looked at after each job."""
        found: Snapshot = {}
        for folder in self._folders:
            found |= snapshot(folder)
        for place in (self._worker.state.root.parent, Path("/"), Path("/tmp"), Path.home(), Path.cwd()):
            found |= {str(path): (0, 0, 0) for path in place.iterdir() if MARK in path.name}
        return found

    def _count(self, job: hostile.Job, answer: dict[str, Any]) -> None:
        self.counts["jobs"] += 1
        self.counts[str(answer.get("error_type", "answered"))] += 1
        try:
            parse_job(job)
        except InvalidJob:
            return
        self.counts["parsed"] += 1
        self.counts["validated"] += self._validated > 0
        self.counts["ran nodes"] += self._ran > 0

    def reached(self) -> int:
        """How many jobs ComfyUI's validation has seen."""
        return self.counts["validated"]

    def report(self, seconds: float) -> str:
        return f"{dict(self.counts)} in {seconds:.1f} s"


@pytest.fixture(scope="module")
def secrets(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secrets]:
    secrets = Secrets(worker, tmp_path_factory.mktemp("hostile"))
    yield secrets
    secrets.remove()


@pytest.fixture(scope="module")
def audited(worker: Worker, secrets: Secrets) -> AuditedFiles:
    return AuditedFiles(worker.state.root, secrets.files)


@pytest.fixture
def log(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a server logs at DEBUG, with all keys set."""
    keys = dict(
        zip(
            ("comfy_org_api_key", "bucket_access_key_id", "bucket_secret_access_key"),
            map(SecretStr, OPERATORS_KEYS),
            strict=True,
        )
    )
    settings = worker.settings.model_copy(update={**keys, "comfy_log_level": "DEBUG"})
    monkeypatch.setattr(worker, "settings", settings)
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    with contextlib.redirect_stdout(stream):
        set_up_logging(settings, as_json=True)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    threading.excepthook = hook


@pytest.fixture
def shooting(
    worker: Worker,
    audited: AuditedFiles,
    secrets: Secrets,
    log: io.StringIO,
    project: Path,
    base_dir: Path,
    volume: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Range]:
    """The handler under watch; afterwards everything is as it was, and a good job runs as before."""
    runtime = worker.embedded_runtime()
    python = [Path(os.__file__).parent, Path(sys.prefix)]
    places = [project, runtime.source.path, worker.state.root, base_dir, Path.home(), *python]
    large = {project: LEFT_OUT, runtime.source.path: ()}
    before = {folder: snapshot(folder, left_out) for folder, left_out in large.items()}
    user, expected = snapshot(worker.state.user), pixels(worker)
    range_ = Range(worker, audited, log, places, [base_dir, volume, *secrets.folders])
    queue_prompt = runtime.prompts.queue_prompt

    def counted(*args: Any) -> Any:
        range_.validates()
        return queue_prompt(*args)

    monkeypatch.setattr(runtime.prompts, "queue_prompt", counted)
    yield range_
    range_.close()
    assert pixels(worker) == expected
    assert not [
        path for folder, left_out in large.items() for path in differences(before[folder], snapshot(folder, left_out))
    ]
    assert not differences(user, snapshot(worker.state.user))


def pixels(worker: Worker) -> bytes:
    """Of a good job."""
    result = worker.run({**GOOD, "3": graphs.node("PreviewAny", source=uuid.uuid4().hex)})
    assert [artifact.filename for artifact in result.artifacts] == ["ComfyUI_00001_.png"]
    return bytes(result.images[0].tobytes())


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
