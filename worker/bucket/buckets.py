"""Chooses the bucket for a job's files: the operator's, the one in the job's ``s3Config``, or none."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.answer.uploader import Uploader
from worker.bucket.address import BucketAddress
from worker.bucket.bucket import Bucket, configured_bucket, job_bucket
from worker.bucket.uploads import Uploads
from worker.job.job import Job
from worker.settings import Settings

_MAX_JOB_BUCKETS = 16


class Buckets:
    """The operator's bucket, and the last buckets that jobs named. Their connections stay open for the next job.

    Args:
        settings: the worker's.
        output: ComfyUI's output folder, where files are while the graph runs.

    Raises:
        SettingsError: the bucket's settings are not complete.
    """

    def __init__(self, settings: Settings, output: Path) -> None:
        self._settings = settings
        self._output = output
        self._bucket = configured_bucket(settings)
        self._sdk_uploads = settings.bucket_endpoint_url is not None and settings.bucket_uploader == "runpod"
        self._lock = threading.Lock()
        self._of_jobs: OrderedDict[tuple[BucketAddress, str, str], Bucket] = OrderedDict()

    def uploader(self, job: Job) -> Uploader | None:
        """The uploader for the files of ``job``. None if they go into the answer.

        If the job names the bucket, its host is looked up in the DNS, which may take a while.

        Raises:
            InvalidJob: the job's ``s3Config`` cannot be used.
        """
        if job.s3_config is not None:
            return Uploads(self._job_bucket(job.s3_config), job.id, self._output)
        if self._sdk_uploads:
            from worker.bucket.sdk_uploads import SdkUploads

            return SdkUploads(job.id, self._settings)
        return None if self._bucket is None else Uploads(self._bucket, job.id, self._output)

    def _job_bucket(self, config: Mapping[str, Any]) -> Bucket:
        bucket = job_bucket(config, self._settings.bucket_url_expiry_s)
        key = (bucket.address, bucket.access_key, bucket.secret_key)
        with self._lock:
            known = self._of_jobs.setdefault(key, bucket)
            self._of_jobs.move_to_end(key)
            if len(self._of_jobs) > _MAX_JOB_BUCKETS:
                self._of_jobs.popitem(last=False)
        return known
