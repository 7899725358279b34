"""Stores files in an S3 bucket, whose address and keys come from the settings or from a job."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, BinaryIO

from worker.answer.uploader import UploadFailed
from worker.bucket.address import BucketAddress, parse_endpoint, split_endpoint
from worker.errors import InvalidJob, SettingsError
from worker.redact import masked_url
from worker.settings import Settings

_MULTIPART_BYTES = 16 * 1024**2
CONNECTIONS = 8
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_client_lock = threading.Lock()


@dataclass(frozen=True)
class Bucket:
    """A bucket with its keys. Any thread may use it, also for several jobs at once.

    ``prefix``: the folder in the bucket for all files. ``expiry_s``: how long a presigned URL is valid, in seconds.
    ``public_only``: whether to connect to public addresses only, since a caller named the bucket.
    """

    address: BucketAddress
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str = ""
    expiry_s: int = 604_800
    public_only: bool = False

    @property
    def client(self) -> Any:
        """The boto3 client. It is made on first use and then kept, with its open connections."""
        with _client_lock:
            return self._client

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config

        client = _session().client(
            "s3",
            endpoint_url=self.address.endpoint,
            region_name=self.address.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": self.address.style},
                retries={"total_max_attempts": 4, "mode": "standard"},
                connect_timeout=5,
                read_timeout=20,
                max_pool_connections=2 * CONNECTIONS,
                # Many services that copy S3 do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={} if self.public_only else None,
            ),
        )
        if self.public_only:
            from worker.bucket.public_only import connect_to_public_only

            connect_to_public_only(client)
        return client

    def store(self, key: str, file: BinaryIO, content_type: str) -> str:
        """Upload ``file`` under ``key`` and return its presigned URL.

        Raises:
            UploadFailed: the file could not be stored, after up to four attempts.
        """
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        size = os.fstat(file.fileno()).st_size
        try:
            if size < _MULTIPART_BYTES:
                # Read the file first. If it shrank during the upload, the server would wait for the missing bytes.
                content = file.read()
                self.client.put_object(Bucket=self.address.name, Key=key, Body=content, ContentType=content_type)
            else:
                transfer = TransferConfig(multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES)
                options = {"ContentType": content_type}
                self.client.upload_fileobj(file, self.address.name, key, ExtraArgs=options, Config=transfer)
            url: str = self.client.generate_presigned_url(
                "get_object", Params={"Bucket": self.address.name, "Key": key}, ExpiresIn=self.expiry_s
            )
        except ClientError as error:
            raise UploadFailed(_code(error.response)) from None
        except Exception as error:  # noqa: BLE001 - botocore lets some errors of other libraries through.
            raise UploadFailed(type(error).__name__) from None
        return url


@cache
def _session() -> Any:
    """One boto3 session for all clients, since each session reads S3's description anew, for 60 ms."""
    import boto3  # Slow to import, and not needed without a bucket.

    return boto3.session.Session()


def configured_bucket(settings: Settings) -> Bucket | None:
    """The bucket of the settings. None if ``BUCKET_ENDPOINT_URL`` is not set, or if RunPod's SDK uploads.

    The SDK reads the settings itself, and has rules of its own for the bucket's name, region and folder.

    Raises:
        SettingsError: a key is missing, or the endpoint cannot be used.
    """
    if settings.bucket_endpoint_url is None:
        return None
    keys = {"BUCKET_ACCESS_KEY_ID": settings.bucket_access_key_id}
    keys["BUCKET_SECRET_ACCESS_KEY"] = settings.bucket_secret_access_key
    missing = [name for name, value in keys.items() if value is None]
    if missing:
        raise SettingsError(f"BUCKET_ENDPOINT_URL is set, and {' and '.join(missing)} must be, too")
    access, secret = (value.get_secret_value() if value else "" for value in keys.values())
    try:
        if settings.bucket_uploader == "runpod":
            split_endpoint(settings.bucket_endpoint_url)
            return None
        address = parse_endpoint(
            settings.bucket_endpoint_url, settings.bucket_name, settings.bucket_region, settings.bucket_addressing
        )
    except ValueError as error:
        shown = masked_url(settings.bucket_endpoint_url)[:100]
        raise SettingsError(f"BUCKET_ENDPOINT_URL={shown!r}: {error}") from None
    return Bucket(address, access, secret, _folder(address, settings.bucket_prefix), settings.bucket_url_expiry_s)


def job_bucket(config: Mapping[str, Any], expiry_s: int) -> Bucket:
    """The bucket that a job names in RunPod's ``s3Config``.

    Args:
        config: ``accessId``, ``accessSecret``, ``bucketName``, ``endpointUrl``.
        expiry_s: how long URLs are valid, in seconds.

    Raises:
        InvalidJob: a value is missing or cannot be used, or the endpoint is not on the public internet.
    """
    from worker.bucket.public_only import check_host

    values = {}
    for name in ("accessId", "accessSecret", "bucketName", "endpointUrl"):
        value = config.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidJob(f"'s3Config': '{name}' must be a string that is not empty")
        values[name] = value.strip()
    try:
        address = parse_endpoint(values["endpointUrl"], values["bucketName"], name_field="'bucketName'")
        check_host(address.host)
    except ValueError as error:
        raise InvalidJob(f"'s3Config': 'endpointUrl': {error}") from None
    return Bucket(address, values["accessId"], values["accessSecret"], _folder(address), expiry_s, public_only=True)


def _folder(address: BucketAddress, prefix: str | None = None) -> str:
    """The folder of the bucket for all files: the one that the address names, then ``prefix``."""
    return "/".join(part for part in (address.prefix, (prefix or "").strip("/")) if part)


def _code(response: Mapping[str, Any]) -> str:
    """The error code in S3's answer. Callers must not see a text that does not look like a code."""
    code = str(response.get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else "refused"
