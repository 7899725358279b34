"""Tries a bucket with a small object: stores it, reads it back, also through its presigned URL, and deletes it."""

from __future__ import annotations

import datetime
import email.utils
import re
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from worker.bucket.bucket import Bucket
from worker.redact import masked_url

CONTENT = b"A small object of the worker's check of the bucket. It can be deleted.\n"
_TIMEOUT_S = 20.0
_MOST_SKEW_S = 300.0  # S3 refuses requests whose time differs by more than 15 minutes; some services by more than 5.
_CODE = re.compile(rb"<Code>([A-Za-z0-9._-]{1,64})</Code>")
_REGION = "the region may be wrong: set BUCKET_REGION to the one that the service's console shows{expected}"
_ADDRESSING = "the service wants the bucket's name in the host of its URLs: set BUCKET_ADDRESSING=virtual"
_PERMISSION = "the key may not do this: give it {permission} on the bucket's objects"
_NO_ANSWER = "nothing answers there: look at BUCKET_ENDPOINT_URL, and at the network of this machine"
_ADVICE = {
    "InvalidAccessKeyId": "the service does not know this key: look at BUCKET_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "look at BUCKET_SECRET_ACCESS_KEY, which does not belong to the key id; if it does, at "
    "BUCKET_REGION and BUCKET_ADDRESSING, which are part of the signature",
    "NoSuchBucket": "there is no such bucket: look at the bucket's name and the region above, and create the bucket if "
    "it does not exist",
    "AuthorizationHeaderMalformed": _REGION,
    "AuthorizationQueryParametersError": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidRegion": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "SecondLevelDomainForbidden": _ADDRESSING,
    "PathStyleDomainForbidden": _ADDRESSING,
    "InvalidPathAccess": _ADDRESSING,
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "403": _PERMISSION,
    "AccessDenied": _PERMISSION,
    "EndpointConnectionError": _NO_ANSWER,
    "ConnectTimeoutError": _NO_ANSWER,
    "ReadTimeoutError": _NO_ANSWER,
    "TimeoutError": _NO_ANSWER,
    "SSLError": "the certificate is not valid for this host: look at BUCKET_ENDPOINT_URL, and at BUCKET_ADDRESSING",
}


class Target(Protocol):
    """One object in a bucket. All methods raise what boto3 raises."""

    def store(self) -> str:
        """Store the object. Returns its presigned URL."""

    def read(self) -> bytes:
        """Read it."""

    def delete(self) -> None:
        """Delete it."""


class BucketTarget:
    """An object in the worker's bucket, in the folder of all files."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        name = f"worker-check-{uuid.uuid4().hex[:8]}.txt"
        self.key = f"{bucket.prefix}/{name}" if bucket.prefix else name
        self._place = {"Bucket": bucket.address.name, "Key": self.key}

    def store(self) -> str:
        client = self._bucket.client
        client.put_object(**self._place, Body=CONTENT, ContentType="text/plain")
        url: str = client.generate_presigned_url("get_object", self._place, ExpiresIn=self._bucket.expiry_s)
        return url

    def read(self) -> bytes:
        content: bytes = self._bucket.client.get_object(**self._place)["Body"].read()
        return content

    def delete(self) -> None:
        self._bucket.client.delete_object(**self._place)


@dataclass(frozen=True)
class Step:
    """What was tried. ``problem``: why it failed, and what to do; "" if it worked. ``is_needed``: by jobs."""

    action: str
    problem: str = ""
    is_needed: bool = True


def try_bucket(target: Target) -> Iterator[Step]:
    """Try ``target``, step by step. If it cannot be stored, there is no further step."""
    url = ""

    def store() -> None:
        nonlocal url
        url = target.store()

    stored = _step("stored", "s3:PutObject", store)
    yield stored
    if stored.problem:
        return
    yield _step("read", "s3:GetObject", lambda: _compare(target.read()))
    yield _step("fetched through its presigned URL", "s3:GetObject", lambda: _compare(_fetch(url)))
    deleted = _step("deleted", "s3:DeleteObject", target.delete)
    yield Step(deleted.action, deleted.problem, is_needed=False)  # The worker deletes nothing.


class _Refused(Exception):
    """The URL was not answered with the object. ``response``: as boto3's errors have it."""

    def __init__(self, code: str, headers: Mapping[str, str]) -> None:
        super().__init__(code)
        lower = {name.lower(): value for name, value in headers.items()}
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPHeaders": lower}}


def _step(action: str, permission: str, run: Callable[[], None]) -> Step:
    try:
        run()
    except Exception as error:  # noqa: BLE001 - botocore lets some errors of other libraries through.
        return Step(action, explain(error, permission))
    return Step(action)


def _compare(content: bytes) -> None:
    if content != CONTENT:
        raise ValueError(f"{len(content)} bytes came back that are not those that were stored")


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - http(s): split_endpoint saw to it.
            content: bytes = answer.read(len(CONTENT) + 1000)
            return content
    except urllib.error.HTTPError as error:
        found = _CODE.search(error.read(10_000))
        raise _Refused(found[1].decode() if found else str(error.code), dict(error.headers)) from None
    except urllib.error.URLError as error:
        is_tls = isinstance(error.reason, ssl.SSLError)
        raise _Refused("SSLError" if is_tls else "EndpointConnectionError", {}) from None


def explain(error: Exception, permission: str) -> str:
    """Why a request failed, and what to do. ``permission``: what the key needs for it, such as ``s3:PutObject``."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    details = response.get("Error", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    code = str(details.get("Code") or type(error).__name__)
    message = str(details.get("Message") or ("" if response else error))
    region = details.get("Region") or headers.get("x-amz-bucket-region")
    expected = f" ({region}, says the service)" if region else ""
    advice = _ADVICE.get(code, "").format(permission=permission, expected=expected)
    told = masked_url(" ".join(message.split()))[:300]
    return "; ".join(text for text in (f"{code}: {told}" if told else code, advice, _clock(headers)) if text)


def _clock(headers: Mapping[str, str]) -> str:
    """A remark about this machine's clock, if it differs from the one of the service."""
    try:
        theirs = email.utils.parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return ""
    ours = datetime.datetime.now(datetime.UTC)
    if theirs.tzinfo is None or abs((ours - theirs).total_seconds()) <= _MOST_SKEW_S:
        return ""
    return f"this machine's clock says {ours:%Y-%m-%d %H:%M} UTC, and the service's {theirs:%Y-%m-%d %H:%M} UTC"
