"""Uploads a job's files to a bucket, in parallel, while its graph still runs.

Keys are ``{prefix/}{job id}/{subfolder/}{filename}``. URLs are presigned.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from worker.answer.kinds import media_type
from worker.answer.result import Artifact
from worker.answer.uploader import UploadFailed
from worker.bucket.bucket import CONNECTIONS, Bucket
from worker.receipt.current import current, span
from worker.redact import encodable

_MOST_OPEN = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def safe_job_id(job_id: str) -> str:
    """``job_id`` as one part of a key, without special characters. Different ids stay different."""
    safe = _UNSAFE.sub("_", job_id)[:200]
    if safe == job_id and safe.strip("."):
        return safe
    return f"{safe.strip('.')}-{hashlib.sha256(job_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


# (device, inode, size, modification time). Files with equal stamps have the same content.
_Stamp = tuple[int, int, int, int]


class Uploads:
    """The uploads of one job.

    Args:
        bucket: where the files go.
        job_id: the job's id, as the caller knows it.
        root: ComfyUI's output folder, where files are while the graph runs.
    """

    def __init__(self, bucket: Bucket, job_id: str, root: Path) -> None:
        self._bucket = bucket
        self._folder = "/".join(part for part in (bucket.prefix, safe_job_id(job_id)) if part)
        self._root = os.path.realpath(root)
        self._begun: dict[str, tuple[_Stamp, Future[str]]] = {}
        self._lock = threading.Lock()
        self._receipt = current()
        # Each job has a pool of its own, so that a server that hangs does not delay other jobs.
        self._pool = ThreadPoolExecutor(CONNECTIONS, "bucket")
        # The first client takes a third of a second, which passes while the graph runs.
        with contextlib.suppress(RuntimeError):  # The system gives no further thread.
            self._pool.submit(lambda: bucket.client)

    def begin(self, path: Path) -> None:
        """Begin to upload a file that a node has finished. Any thread may call it.

        It raises nothing; the future of ``prepare`` raises what fails here. The file is opened now, since it is moved
        when the graph has ended. If many uploads are under way, nothing begins here, and ``prepare`` begins this one.
        """
        with contextlib.suppress(Exception):
            real = os.path.realpath(path)
            inside = os.path.relpath(real, self._root)
            with self._lock:
                under_way = sum(not upload.done() for _, upload in self._begun.values())
            if real.startswith(f"{self._root}/") and under_way < _MOST_OPEN:
                self._begin(inside, Path(real), open_now=True)

    def prepare(self, artifact: Artifact) -> Future[str]:
        """Upload ``artifact`` as it is now, unless that has begun already. Returns the future of its URL."""
        return self._begin(artifact.place, artifact.path)

    def close(self) -> None:
        """Drop the uploads that have not begun, since nobody waits for them any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, name: str, path: Path, *, open_now: bool = False) -> Future[str]:
        try:
            stamp = _stamp(path)
        except OSError as error:
            failed: Future[str] = Future()
            failed.set_exception(UploadFailed(error.strerror or type(error).__name__))
            return failed
        with self._lock:
            before = self._begun.get(name)
            if before is not None and before[0] == stamp:
                return before[1]
            file = path.open("rb") if open_now else None
            try:
                upload = self._pool.submit(self._store, name, path, file, before and before[1])
            except RuntimeError:  # The system gives no further thread.
                if file is not None:
                    file.close()
                raise
            self._begun[name] = stamp, upload
        return upload

    def _store(self, name: str, path: Path, file: BinaryIO | None, before: Future[str] | None) -> str:
        if before is not None:  # Otherwise the older content could arrive last. Its upload already has a thread.
            wait([before])
        try:
            with span("upload", self._receipt), file or path.open("rb") as content:
                return self._bucket.store(f"{self._folder}/{encodable(name)}", content, media_type(name))
        except OSError as error:
            raise UploadFailed(error.strerror or type(error).__name__) from None


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
