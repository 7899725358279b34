"""Finds a pack's version in the Comfy Registry, and downloads and unpacks its archive.

https://docs.comfy.org/registry/api-reference/nodes/returns-a-node-version-to-be-installed
"""

from __future__ import annotations

import http.client
import json
import lzma
import os
import stat
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from node_packs.failure import PackFailed
from node_packs.source import RegistrySource

DEFAULT_REGISTRY = "https://api.comfy.org"
_TIMEOUT_S = 30
_ATTEMPTS = 3
_MAX_ANSWER = 10 * 2**20
_MAX_ARCHIVE = 2**30
_MAX_UNPACKED = 4 * 2**30
_MAX_FILES = 100_000
_UNSOUND = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, http.client.HTTPException)


@dataclass(frozen=True)
class Release:
    """A version of a pack, and the address of its archive."""

    name: str
    version: str
    archive: str


def registry_address() -> str:
    """``COMFY_REGISTRY_URL``, or the public registry."""
    return (os.environ.get("COMFY_REGISTRY_URL") or DEFAULT_REGISTRY).rstrip("/")


def find_release(source: RegistrySource, registry: str) -> Release:
    """Ask the registry for the version that ``source`` names, or for the newest one.

    Raises:
        PackFailed: the registry has no such version, or does not answer.
    """
    query = f"?version={urllib.parse.quote(source.version)}" if source.version else ""
    for name in dict.fromkeys((source.name, source.name.lower())):  # Most names there are in lower case.
        answer = _get_json(f"{registry}/nodes/{urllib.parse.quote(name)}/install{query}")
        if answer is None:
            continue
        version, archive = answer.get("version"), answer.get("downloadUrl")
        if not isinstance(version, str) or not isinstance(archive, str) or not archive:
            raise PackFailed(f"the registry has no archive of {source}: choose another version, or give its git URL")
        return Release(name, version, archive)
    raise PackFailed(f"the registry has no pack {source}: look up its name and versions at https://registry.comfy.org")


def unpack_release(release: Release, folder: Path, archive: Path) -> None:
    """Download the release to ``archive``, and unpack it into ``folder``, which is made.

    Raises:
        PackFailed: the archive cannot be fetched or read, or would write outside ``folder``.
    """
    try:
        with _open(release.archive) as answer, archive.open("wb") as file:
            while block := answer.read(2**20):
                file.write(block)
                if file.tell() > _MAX_ARCHIVE:
                    raise PackFailed(f"the archive is larger than {_MAX_ARCHIVE >> 20} MiB: {release.archive}")
        with zipfile.ZipFile(archive) as content:
            _check(content)
            content.extractall(folder)
            names = content.namelist()
    except _UNSOUND as error:
        raise PackFailed(f"{release.archive} is no sound ZIP archive ({error})") from None
    # ComfyUI-Manager recognizes a pack of the registry by this file.
    (folder / ".tracking").write_text("\n".join(names), encoding="utf-8")


def installed_version(folder: Path) -> str | None:
    """The version of the pack in ``folder``; None if it is no pack of the registry."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    return str(project.get("version")) if (folder / ".tracking").is_file() else None


def _check(content: zipfile.ZipFile) -> None:
    entries = content.infolist()
    if not entries:
        raise PackFailed("its archive is empty")
    if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise PackFailed(f"its archive unpacks to more than {_MAX_FILES} files or {_MAX_UNPACKED >> 20} MiB")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise PackFailed(f"its archive would write outside the pack's folder: {entry.filename!r}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise PackFailed(f"its archive holds a link: {entry.filename!r}")


def _get_json(url: str) -> dict[str, Any] | None:
    """The JSON object at ``url``; None if the status is 404."""
    try:
        with _open(url) as answer:
            found = json.loads(answer.read(_MAX_ANSWER))
    except _NotFound:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PackFailed(f"{url} does not answer as the Comfy Registry does")
    return found


class _NotFound(PackFailed):
    pass


def _open(url: str) -> IO[bytes]:
    if not url.startswith(("https://", "http://")):
        raise PackFailed(f"{url!r} is no http address")
    request = urllib.request.Request(url, headers={"User-Agent": "comfy-worker-install-nodes"})  # noqa: S310 - http alone.
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer: IO[bytes] = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - http alone.
            return answer
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise _NotFound(f"{url} does not exist") from None
            reason = f"HTTP status {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        if attempt < _ATTEMPTS:
            time.sleep(attempt / 2)
    raise PackFailed(f"{url} does not answer: {reason}")
