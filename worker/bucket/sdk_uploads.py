"""Uploads a job's files with RunPod's SDK, for operators who rely on the folders that it chooses."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from worker.answer.result import Artifact
from worker.answer.uploader import UploadFailed
from worker.runpod.sdk import lend_keys, rp_upload
from worker.settings import Settings


class SdkUploads:
    """The uploads of one job with ``rp_upload.upload_image(job_id, path)``, which reads ``BUCKET_*`` itself."""

    def __init__(self, job_id: str, settings: Settings) -> None:
        lend_keys(settings)
        self._job_id = job_id
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
            return str(rp_upload.upload_image(self._job_id, str(path)))
        except Exception as error:  # noqa: BLE001 - the SDK does not catch what boto3 raises.
            raise UploadFailed(type(error).__name__) from None
