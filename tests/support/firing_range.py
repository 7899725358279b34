"""The handler under watch while hostile jobs are fired at it, and what no job may read, write, return or pass on."""

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
import media
import numpy as np
import pytest
from file_watch import AuditedFiles, OpenWatch, Snapshot, differences, snapshot
from hostile_files import MARK, hostile_files
from hostile_nodes import canary_color
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
VARIABLE = "HOSTILE_CANARY"
VICTIMS_SHADE = 171  # Of the files of another caller, whose pictures nobody else may see.
LONGEST_S = 20.0
_LONGEST_WAIT_S = 10.0
LARGEST_MB = 1500.0  # By which a job may make the process larger while it runs.
# Of the project: what other programs write.
LEFT_OUT = (
    ".git",
    ".cache",
    ".hypothesis",
    ".venv",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
    "__pycache__",
    "vendor",
)
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
                "s.mp4": media.video(VICTIMS_SHADE),
                "s.wav": media.sound(VICTIMS_SHADE * 100),
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
        self,
        worker: Worker,
        audited: AuditedFiles,
        log: io.StringIO,
        places: list[Path],
        folders: list[Path],
        secrets: list[Path],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._worker, self._audited, self._log = worker, audited, log
        self._places = places  # Of the machine: no answer names them.
        self._folders = folders  # Nobody writes there.
        self._opened = OpenWatch(secrets)
        self._canary = f"canary-of-the-environment-{uuid.uuid4().hex}"
        os.environ[VARIABLE] = self._canary
        self._runner = asyncio.Runner()
        self._handle = make_handler(worker, self._on_event)
        self._ran = self._validated = 0
        self._state = {path.name for path in worker.state.root.iterdir()}
        self._kept = set(worker.state.input.rglob("*"))  # Static files.
        self._jobs = set((worker.state.root / "jobs").iterdir())
        self.seen = self._seen()

    def close(self) -> None:
        self._runner.close()
        self._opened.close()
        del os.environ[VARIABLE]

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
        answer, problems = self.examine(job)
        assert not problems, f"{problems}\njob: {_shown(job)[:4000]}\nanswer: {answer!r:.2000}"
        return answer

    def examine(self, job: hostile.Job) -> tuple[dict[str, Any], list[str]]:
        """Give ``job`` to the handler. Returns the answer, and what is wrong."""
        self._ran, self._validated, self._audited.offences[:] = 0, 0, []
        self._log.seek(0)
        self._log.truncate()
        before_mb = _start_peak_mb()
        start, used = time.monotonic(), time.process_time()
        answer = self.answer(job)
        # Other programs of this machine may take the processor: so the processor's time counts as well.
        seconds = min(time.monotonic() - start, time.process_time() - used + _LONGEST_WAIT_S)
        grown_mb = _status_mb("VmHWM") - before_mb
        problems = [*self._of_the_answer(answer), *self._of_the_log(), *self._of_the_files()]
        if seconds > LONGEST_S:
            problems.append(f"it took {seconds:.1f} s")
        if self._worker.life.failure is not None:
            problems.append(f"the worker takes no more jobs: {self._worker.life.failure}")
        if grown_mb > LARGEST_MB:
            problems.append(f"it took {grown_mb:.0f} MB")
        self._count(job, answer)
        return answer, problems

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
                text = text.replace(entry["data"], "")  # Base64 may have a short name by chance.
                text += content.decode("latin-1")
                if _shows_canary(content):
                    yield "a picture that is none of the job's"
        yield from (f"{word!r} in the answer" for word in self._forbidden() if word in text)

    def _forbidden(self) -> list[str]:
        secrets = [
            *OPERATORS_KEYS,
            hostile.CALLERS_BUCKET_KEY,
            CANARY,
            self._canary,
            "Traceback (most",
            'File "/',
            "root:x:0:",
            "PATH=",
        ]
        return [*secrets, *map(str, self._places)]

    def _of_the_log(self) -> Iterator[str]:
        text = self._log.getvalue()
        secrets = [*OPERATORS_KEYS, self._canary, hostile.CALLERS_KEY, hostile.CALLERS_BUCKET_KEY]
        yield from (f"{secret!r} in the log" for secret in secrets if secret in text)
        yield from (f"a line of {len(line)} characters in the log" for line in text.splitlines() if len(line) > 200_000)

    def _of_the_files(self) -> Iterator[str]:
        yield from self._audited.offences
        yield from (f"{path} was opened" for path in self._opened.opened())
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


def _shows_canary(content: bytes) -> bool:
    """Whether it is a picture of a canary file, or of the files of another caller."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            size, pixels = image.size, np.asarray(image.convert("RGB"), int)
    except (OSError, ValueError, SyntaxError):
        return False
    is_victims = (np.abs(pixels - np.array(canary_color(VICTIMS_SHADE))) <= 2).all(axis=-1)
    return size == CANARY_SIZE or bool(is_victims.mean() > 0.2)


def _start_peak_mb() -> float:
    """Begin to measure the peak of this process's memory anew; returns what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


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
    range_ = Range(worker, audited, log, places, [base_dir, volume, *secrets.folders], secrets.files)
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
