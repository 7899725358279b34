"""An S3 bucket: where it is, and one file into it."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

from worker.errors import InvalidJob, SettingsError
from worker.settings import Settings

_log = logging.getLogger("worker")

_MULTIPART_BYTES = 16 * 1024**2
CONNECTIONS = 8
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_HOST = 253
_client_lock = threading.Lock()
# [bucket.]s3[.-]region.provider, as AWS, Backblaze, Wasabi and others have it; [bucket.]region.digitaloceanspaces.com.
_S3_HOST = re.compile(
    r"(?:(?P<bucket>[^/]+?)\.)?s3[.-](?:dualstack\.)?(?P<region>[a-z0-9-]+)\.(?P<provider>[a-z0-9.-]+)"
)
_AWS_GLOBAL = re.compile(r"(?:(?P<bucket>[^/]+?)\.)?(?P<provider>s3\.amazonaws\.com)")
_SPACES = re.compile(r"(?:(?P<bucket>[^./]+)\.)?(?P<region>[a-z0-9]+)\.(?P<provider>digitaloceanspaces\.com)")


class UploadFailed(Exception):
    """A file is not in the bucket; the text says why, without a secret."""


@dataclass(frozen=True)
class BucketPlace:
    """Where a bucket is.

    ``endpoint``: the service's address, without the bucket. ``style``: how URLs name the bucket.
    """

    endpoint: str
    name: str
    region: str
    style: Literal["virtual", "path"]


def find_bucket(endpoint_url: str, name: str | None = None, region: str | None = None) -> BucketPlace:
    """Find out what an endpoint's address says of its bucket; ``name`` and ``region`` stand in where it says nothing.

    Raises:
        ValueError: the address cannot be used, or nobody names the bucket.
    """
    parts = urlsplit(endpoint_url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host or len(host) > _MAX_HOST:
        raise ValueError("it must be an http(s) address, such as https://my-bucket.s3.eu-west-1.amazonaws.com")
    found = _AWS_GLOBAL.fullmatch(host) or _SPACES.fullmatch(host) or _S3_HOST.fullmatch(host)
    known = found.groupdict() if found else {}
    in_path = parts.path.strip("/")
    bucket = known.get("bucket") or in_path or name
    if not bucket or "/" in bucket:
        raise ValueError("it does not name the bucket: put its name before the host, or set BUCKET_NAME")
    own_name = f"{known['bucket']}." if known.get("bucket") else ""
    authority = parts.netloc.rpartition("@")[2][len(own_name) :]
    default = "auto" if host.endswith(".r2.cloudflarestorage.com") else "us-east-1"
    return BucketPlace(
        f"{parts.scheme}://{authority}",
        bucket,
        known.get("region") or region or default,
        "virtual" if own_name else "path",
    )


@dataclass(frozen=True)
class Bucket:
    """A bucket with its keys; one of these serves all jobs. Its client is made once and may be used by any thread.

    ``expiry_s``: how long a presigned URL is valid, in seconds. ``public_only``: it is a caller's, and must be on the
    public internet.
    """

    place: BucketPlace
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str = ""
    expiry_s: int = 604_800
    public_only: bool = False

    @property
    def client(self) -> Any:
        """The boto3 client, made at the first call."""
        with _client_lock:
            return self._client

    @cached_property
    def _client(self) -> Any:
        import boto3  # Takes a while, and only those with a bucket need it.
        from botocore.config import Config

        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.place.endpoint,
            region_name=self.place.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": self.place.style},
                retries={"total_max_attempts": 4, "mode": "standard"},
                connect_timeout=5,
                read_timeout=20,
                max_pool_connections=2 * CONNECTIONS,
                # Many S3 clones do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={} if self.public_only else None,
            ),
        )
        if self.public_only:
            from worker.job.public_web import connect_to_public_only

            connect_to_public_only(client)
        return client

    def store(self, key: str, file: BinaryIO, content_type: str) -> str:
        """Put ``file`` under ``key``, and give its presigned URL.

        Raises:
            UploadFailed: it could not be put there, after four tries.
        """
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        size = os.fstat(file.fileno()).st_size
        try:
            if size < _MULTIPART_BYTES:
                # Read now: from a file that shrinks meanwhile, the server would wait for the rest until it gives up.
                content = file.read()
                self.client.put_object(Bucket=self.place.name, Key=key, Body=content, ContentType=content_type)
            else:
                transfer = TransferConfig(multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES)
                options = {"ContentType": content_type}
                self.client.upload_fileobj(file, self.place.name, key, ExtraArgs=options, Config=transfer)
            url: str = self.client.generate_presigned_url(
                "get_object", Params={"Bucket": self.place.name, "Key": key}, ExpiresIn=self.expiry_s
            )
        except ClientError as error:
            raise UploadFailed(_code(error.response)) from None
        except Exception as error:  # noqa: BLE001 - botocore lets through what its servers bring about.
            raise UploadFailed(type(error).__name__) from None
        return url


def configured_bucket(settings: Settings) -> Bucket | None:
    """The bucket of the environment; None where ``BUCKET_ENDPOINT_URL`` is not set.

    Raises:
        SettingsError: a key is missing, or the bucket is named nowhere.
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
        place = find_bucket(settings.bucket_endpoint_url, settings.bucket_name, settings.bucket_region)
    except ValueError as error:
        raise SettingsError(f"BUCKET_ENDPOINT_URL={settings.bucket_endpoint_url[:100]!r}: {error}") from None
    return Bucket(place, access, secret, (settings.bucket_prefix or "").strip("/"), settings.bucket_url_expiry_s)


def job_bucket(config: Mapping[str, Any], expiry_s: int, check: Callable[[str], None]) -> Bucket:
    """The bucket that a job brings as RunPod's ``s3Config``.

    Args:
        config: ``accessId``, ``accessSecret``, ``bucketName``, ``endpointUrl``.
        expiry_s: how long URLs are valid, in seconds.
        check: raises ValueError where the endpoint's host may not be asked.

    Raises:
        InvalidJob: a value is missing or cannot be used.
    """
    values = {}
    for name in ("accessId", "accessSecret", "bucketName", "endpointUrl"):
        value = config.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidJob(f"'s3Config': '{name}' must be a string that is not empty")
        values[name] = value.strip()
    try:
        place = find_bucket(values["endpointUrl"], values["bucketName"])
        check(place.endpoint)
    except ValueError as error:
        raise InvalidJob(f"'s3Config': 'endpointUrl': {error}") from None
    return Bucket(place, values["accessId"], values["accessSecret"], expiry_s=expiry_s, public_only=True)


def _code(response: Mapping[str, Any]) -> str:
    """S3's code of an error; what is none is not passed on."""
    code = str(response.get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else "refused"
