"""Reads the address of an S3 bucket (service, name, region) from the URL of its endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_MAX_HOST = 253
# [bucket.]s3[.-]region.provider, as AWS, Backblaze, Wasabi and others use it; [bucket.]region.digitaloceanspaces.com.
_S3_HOST = re.compile(
    r"(?:(?P<bucket>[^/]+?)\.)?s3[.-](?:dualstack\.)?(?P<region>[a-z0-9-]+)\.(?P<provider>[a-z0-9.-]+)"
)
_AWS_GLOBAL = re.compile(r"(?:(?P<bucket>[^/]+?)\.)?(?P<provider>s3\.amazonaws\.com)")
_SPACES = re.compile(r"(?:(?P<bucket>[^./]+)\.)?(?P<region>[a-z0-9]+)\.(?P<provider>digitaloceanspaces\.com)")


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is.

    ``endpoint``: the service's URL, without the bucket. ``style``: where URLs name the bucket, in the host (virtual) or
    in the path.
    """

    endpoint: str
    name: str
    region: str
    style: Literal["virtual", "path"]


def parse_endpoint(endpoint_url: str, name: str | None = None, region: str | None = None) -> BucketAddress:
    """Read a bucket's address from the URL of its endpoint.

    Args:
        endpoint_url: the URL, which may have the bucket's name in the host or the path.
        name: the bucket's name, used if the URL has none.
        region: the bucket's region, used if the URL has none.

    Raises:
        ValueError: the URL cannot be used, or the bucket has no name.
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
    return BucketAddress(
        f"{parts.scheme}://{authority}",
        bucket,
        known.get("region") or region or default,
        "virtual" if own_name else "path",
    )
