"""The types of settings that turn the text of an environment variable into a value, such as a list or an address."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from worker.images.formats import FormatName

_HOST = re.compile(r"(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()+;=:@-]+")  # Of a path. What is written with % has several spellings.

_MOST_NAME = 255  # Bytes of a name, on Linux.


def _boolean(value: object) -> object:
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError("not a boolean")
    return text == "true"


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _format_name(value: object) -> object:
    name = value.strip().lower() if isinstance(value, str) else value
    return "jpeg" if name == "jpg" else name


def _split_flags(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _folders_inside(names: tuple[str, ...]) -> tuple[str, ...]:
    plain = tuple(name.rstrip("/") for name in names)
    parts = [part for name in plain for part in name.split("/")]
    if any(part in ("", ".", "..") or len(os.fsencode(part)) > _MOST_NAME for part in parts):
        raise ValueError("not a folder below another")
    return plain


def _safe_nodes(value: object) -> object:
    first, *packs = (part.strip() for part in str(value).split(","))
    if first.lower() not in ("off", "core") or (packs and first.lower() == "off") or "" in packs:
        raise ValueError("not a choice of nodes")
    return ",".join([first.lower(), *packs])


def _server_address(value: object) -> object:
    text = str(value).strip()
    if not text.isprintable() or " " in text:  # urlsplit would silently remove some such characters.
        raise ValueError("not an address")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in ("http", "https") or extras or parts.port == 0:  # port raises ValueError above 65535.
        raise ValueError("not an address")
    if not _HOST.fullmatch(parts.hostname or "") or max(map(len, (parts.hostname or "").split("."))) > 63:
        raise ValueError("not a host")
    return text.rstrip("/")


def _model_sources(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Each as ``host``, ``host:port`` or ``host/path``, without a scheme and a slash at its end."""
    found = []
    for source in sources:
        scheme, separator, rest = source.rpartition("://")
        parts = urlsplit(f"https://{rest}")
        host, port = (parts.hostname or "").lower(), parts.port  # port raises ValueError above 65535.
        segments = parts.path.rstrip("/").split("/")[1:]
        has_more = parts.query or parts.fragment or parts.username is not None or "?" in rest or "#" in rest
        if (
            (separator and scheme.lower() != "https")
            or not _HOST.fullmatch(host)
            or ":" in host
            or port == 0
            or has_more
        ):
            raise ValueError("not a source")
        if any(part in ("", ".", "..") or not _SEGMENT.fullmatch(part) for part in segments):
            raise ValueError("not a path")
        found.append("/".join([host if port in (None, 443) else f"{host}:{port}", *segments]))
    return tuple(found)


def _megabytes(value: object) -> object:
    """``auto``, or a number. pydantic's own error would speak of both."""
    text = str(value).strip().lower()
    return text if text == "auto" else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _interval(seconds: float) -> float:
    if 0 < seconds < 0.1:
        raise ValueError("not an interval")
    return seconds


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Flags = Annotated[tuple[str, ...], BeforeValidator(_split_flags)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Interval = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), AfterValidator(_interval)]
FolderNames = Annotated[CommaList, AfterValidator(_folders_inside)]
ModelSources = Annotated[CommaList, AfterValidator(_model_sources)]
SafeNodes = Annotated[str, BeforeValidator(_safe_nodes)]
ReportMetrics = Annotated[Literal["off", "on", "full"], BeforeValidator(_lower)]
ServerAddress = Annotated[str, BeforeValidator(_server_address)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Megabytes = Annotated[Literal["auto"] | Annotated[float, Field(ge=0, allow_inf_nan=False)], BeforeValidator(_megabytes)]
OutputFormat = Annotated[FormatName, BeforeValidator(_format_name)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
SdkLogLevel = Annotated[Literal["NOTSET", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"], BeforeValidator(_upper)]
