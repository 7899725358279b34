"""Uploads a job's files with RunPod's SDK, for operators who rely on the folders that it chooses."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.answer.result import Artifact
from worker.answer.uploader import UploadFailed
from worker.bucket.trial import CONTENT
from worker.receipt.current import current, span
from worker.runpod.sdk import lend_keys, rp_upload
from worker.settings import Settings


class SdkUploads:
    """The uploads of one job with ``rp_upload.upload_image(job_id, path)``, which reads ``BUCKET_*`` itself."""

    def __init__(self, job_id: str, settings: Settings) -> None:
        lend_keys(settings)
        self._job_id, self._receipt = job_id, current()
        self._pool = ThreadPoolExecutor(4, "bucket-runpod")

    def begin(self, path: Path) -> None:
        """Do nothing: the SDK opens the file by its path, which changes when the graph has ended."""

    def prepare(self, artifact: Artifact) -> Future[str]:
        """Begin to upload ``artifact``. Returns the future of its URL."""
        return self._pool.submit(self._upload, artifact.path)

    def close(self) -> None:
        """Drop the uploads that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _upload(self, path: Path) -> str:
        try:
            with span("upload", self._receipt):
                return str(rp_upload.upload_image(self._job_id, str(path)))
        except Exception as error:  # noqa: BLE001 - the SDK does not catch what boto3 raises.
            raise UploadFailed(type(error).__name__) from None


class SdkTarget:
    """An object that the SDK uploads, for the check of the bucket. It raises what boto3 raises."""

    def __init__(self, settings: Settings) -> None:
        lend_keys(settings)
        self._place: dict[str, str] = {}

    def store(self) -> str:
        """Upload a file. Returns its presigned URL."""
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            file.write(CONTENT)
            file.flush()
            url = str(rp_upload.upload_image("worker-check", file.name))
        bucket, *key = urlsplit(url).path.split("/")[-3:]  # The path ends with MM-YY/worker-check/12345678.txt.
        self._place = {"Bucket": bucket, "Key": "/".join(key)}
        return url

    def read(self) -> bytes:
        """Read the object."""
        content: bytes = self._client().get_object(**self._place)["Body"].read()
        return content

    def delete(self) -> None:
        """Delete the object."""
        self._client().delete_object(**self._place)

    def _client(self) -> Any:
        return rp_upload.get_boto_client()[0]
