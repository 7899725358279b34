"""Reads the address of an S3 bucket (service, name, region, folder) from the URL of its endpoint.

``worker.bucket.providers`` has the hosts of the services that are known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from worker.bucket.providers import PROVIDERS, Provider
from worker.public_addresses import is_address

Addressing = Literal["auto", "virtual", "path"]
_MAX_HOST = 253
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")  # boto3 takes these.
_VIRTUAL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # boto3 names others in the path. So do certificates.
_NO_NAME = (
    "it does not name the bucket: put its name before the host, or set BUCKET_NAME (and BUCKET_ADDRESSING=virtual if "
    "the service wants the name in the host)"
)
_PLACEHOLDERS = {
    r"\{aws_region\}": r"(?P<region>[a-z]{2,3}(?:-[a-z]+)+-\d+)",
    r"\{region\}": r"(?P<region>(?!accelerate|cdn\b|website)[a-z0-9]+(?:-[a-z0-9]+)*)",
    r"\{account\}": r"[a-z0-9-]+",
    r"\{domain\}": r"[a-z0-9-]+(?:\.[a-z0-9-]+)+",
}


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is.

    ``endpoint``: the service's URL, without the bucket. ``style``: where URLs name the bucket, in the host (virtual) or
    in the path. ``prefix``: the folder of the bucket that the address names, without slashes around it. ``provider``:
    the service's name, or "" if it is not known.
    """

    endpoint: str
    name: str
    region: str
    style: Literal["virtual", "path"]
    prefix: str = ""
    provider: str = field(default="", compare=False)

    @property
    def url(self) -> str:
        """The bucket's URL. Those of its objects go on with a slash and the key."""
        scheme, _, rest = self.endpoint.partition("://")
        return f"{scheme}://{self.name}.{rest}" if self.style == "virtual" else f"{self.endpoint}/{self.name}"

    @property
    def host(self) -> str:
        """The host that requests go to, and that presigned URLs name."""
        return urlsplit(self.url).hostname or ""


class _Host(NamedTuple):
    """What a host says. ``bucket`` and ``region`` are "" if it does not name them."""

    provider: Provider
    bucket: str = ""
    region: str = ""


class _Place(NamedTuple):
    """The bucket, and which parts of the URL are the service's. ``in_host``: whether the host names the bucket."""

    bucket: str
    in_host: bool
    path: str
    prefix: str


_UNKNOWN = _Host(Provider("", (), is_known=False))


def parse_endpoint(
    endpoint_url: str,
    name: str | None = None,
    region: str | None = None,
    addressing: Addressing = "auto",
    *,
    name_field: str = "BUCKET_NAME",
) -> BucketAddress:
    """Read a bucket's address from the URL of its endpoint.

    Args:
        endpoint_url: the URL, which may name the bucket in the host or the path.
        name: the bucket's name. The path of the URL then belongs to the endpoint, unless the path names this bucket.
        region: the bucket's region. Default: the host's, or the service's.
        addressing: where URLs name the bucket. Default: as the address does, or as the service needs it.
        name_field: where the name comes from, for the text of an error.

    Raises:
        ValueError: the URL cannot be used, the bucket has no name, or it has two.
    """
    parts = split_endpoint(endpoint_url)
    name = (name or "").strip()
    if name and not _NAME.fullmatch(name):
        raise ValueError(f"{name_field} {name[:100]!r} is no name of a bucket")
    found = _recognize(host := (parts.hostname or "").lower())
    if found.provider.is_known:
        place = _known_place(found, parts.path, name, name_field)
    else:
        place = _unknown_place(host, found, parts.path, name, addressing)
    if not _NAME.fullmatch(place.bucket):
        raise ValueError(_NO_NAME)
    authority = parts.netloc.rpartition("@")[2][len(place.bucket) + 1 if place.in_host else 0 :]
    return BucketAddress(
        f"{parts.scheme}://{authority}{place.path}",
        place.bucket,
        (region or "").strip() or found.region or found.provider.region,
        _style(place, found.provider, addressing),
        place.prefix,
        found.provider.name,
    )


def split_endpoint(endpoint_url: str) -> SplitResult:
    """The parts of an endpoint's URL.

    Raises:
        ValueError: it is no http(s) address.
    """
    parts = urlsplit(endpoint_url.strip())
    try:
        usable = parts.scheme in ("http", "https") and 0 < len(parts.hostname or "") <= _MAX_HOST and parts.port != 0
    except ValueError:  # The port is no number up to 65535.
        usable = False
    if not usable:
        raise ValueError("it must be an http(s) address, such as https://my-bucket.s3.eu-west-1.amazonaws.com")
    return parts


def _recognize(host: str) -> _Host:
    for provider, patterns in _HOSTS:
        for pattern in patterns:
            if match := pattern.fullmatch(host):
                parts = match.groupdict("")
                region = parts.get("region", "")
                region = provider.regions.get(region, region.upper() if provider.upper_case else region)
                return _Host(provider, parts.get("bucket", ""), region)
    return _UNKNOWN


def _known_place(found: _Host, path: str, name: str, name_field: str) -> _Place:
    """The place in a service that is known. What its own path leaves over is the bucket's name, then a folder."""
    base = found.provider.path
    rest = unquote(f"{path}/".removeprefix(f"{base}/")).strip("/")
    if found.bucket:
        bucket, prefix = found.bucket, rest
    elif not rest:
        bucket, prefix = name, ""
    else:
        bucket, _, prefix = rest.partition("/")
    if name and name != bucket and name.lower() != found.bucket:  # A host has small letters only.
        raise ValueError(f"it names the bucket {bucket!r}, and {name_field} names {name!r}: give one of them only")
    return _Place(bucket, bool(found.bucket), base, prefix.strip("/"))


def _unknown_place(host: str, found: _Host, path: str, name: str, addressing: Addressing) -> _Place:
    """The place in any other service. Its endpoint may have a path, so a name that is set decides."""
    folder = unquote(path).strip("/")
    if addressing == "virtual":
        if is_address(host):
            raise ValueError("it is an IP address, and BUCKET_ADDRESSING=virtual needs a host with a name")
        named = name if host.startswith(f"{name}.") else ""
        bucket = named if name else found.bucket or host.partition(".")[0]
    else:
        bucket = found.bucket if addressing == "auto" and name in ("", found.bucket) else ""
    if bucket and bucket != host:
        return _Place(bucket, in_host=True, path="", prefix=folder)
    if not name:
        return _Place(folder, in_host=False, path="", prefix="")
    base = path.rstrip("/")
    if addressing != "virtual" and unquote(base).endswith(f"/{name}"):  # The path names the bucket, too.
        base = base.rpartition("/")[0]
    return _Place(name, in_host=False, path=base, prefix="")


def _style(place: _Place, provider: Provider, addressing: Addressing) -> Literal["virtual", "path"]:
    """Where URLs name the bucket. boto3 would silently take the path where the host cannot have the name."""
    wanted = provider.addressing if addressing == "auto" else addressing
    if wanted == "any":
        wanted = "virtual" if place.in_host else "path"
    return "virtual" if wanted == "virtual" and _VIRTUAL_NAME.fullmatch(place.bucket) else "path"


def _pattern(host: str, provider: Provider) -> re.Pattern[str]:
    text = re.escape(host)
    for placeholder, expression in _PLACEHOLDERS.items():
        text = text.replace(placeholder, expression)
    if provider.addressing == "path":
        return re.compile(text)
    # Before an account's name, a dot could belong to the account.
    letters = "[a-z0-9_-]" if host.startswith("{account}") else "[a-z0-9._-]"
    return re.compile(rf"(?:(?P<bucket>[a-z0-9]{letters}*)\.)?{text}")


_HOSTS = [(provider, [_pattern(host, provider) for host in provider.hosts]) for provider in PROVIDERS]
