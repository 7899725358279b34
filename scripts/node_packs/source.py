"""Reads a pack's name on the command line: a name in the Comfy Registry, or a git repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_URL = re.compile(r"(?P<host>(?:https?|ssh|git|file)://[^/]*/)(?P<path>.+)")
_SCP = re.compile(r"(?P<host>[\w.-]+@[\w.-]+:)(?P<path>[^/].*)")
_REGISTRY = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>[A-Za-z0-9][A-Za-z0-9.+_-]*))?")
_REVISION = re.compile(r"[A-Za-z0-9_][^\s~^:?*\[\\]*")
_FOLDER = re.compile(r"[A-Za-z0-9_][\w.+ -]*")


class NoSource(ValueError):
    """The text names no pack. The message says how to name one."""


@dataclass(frozen=True)
class RegistrySource:
    """A pack of the Comfy Registry. ``version``: None means the newest."""

    name: str
    version: str | None

    @property
    def folder(self) -> str:
        """The folder's name in ``custom_nodes``, as ComfyUI-Manager names it."""
        return self.name

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True)
class GitSource:
    """A git repository. ``revision``: None means the default branch."""

    url: str
    revision: str | None

    @property
    def folder(self) -> str:
        """The folder's name in ``custom_nodes``, which is the repository's name."""
        return re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git")

    @property
    def shown(self) -> str:
        """The address without the token that an http address may hold."""
        return re.sub(r"(https?://)[^/@]*@", r"\1", self.url)

    def __str__(self) -> str:
        return f"{self.shown}@{self.revision}" if self.revision else self.shown


Source = RegistrySource | GitSource


def parse_source(text: str) -> Source:
    """Read ``NAME[@VERSION]``, ``URL[@REVISION]`` or ``PATH[@REVISION]``.

    Raises:
        NoSource: ``text`` is none of them.
    """
    text = text.strip()
    url = text.removeprefix("git+")
    if found := _URL.fullmatch(url) or _SCP.fullmatch(url):
        path, at, revision = found["path"].partition("@")
        return _git_source(text, found["host"] + path, at, revision)
    if text.startswith(("/", "./", "../", "~")):
        path, at, revision = (text, "", "") if Path(text).expanduser().exists() else text.rpartition("@")
        return _git_source(text, str(Path(path or revision).expanduser().absolute()), path and at, revision)
    if found := _REGISTRY.fullmatch(text):
        return RegistrySource(found["name"], None if found["version"] == "latest" else found["version"])
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@.*)?", text):
        raise NoSource(f"{text!r} names no pack; for a repository on GitHub write https://github.com/{text}")
    raise NoSource(f"{text!r} names no pack: give NAME, NAME@VERSION, URL or URL@REVISION")


def _git_source(text: str, url: str, at: str, revision: str) -> GitSource:
    source = GitSource(url, revision or None)
    if at and not _REVISION.fullmatch(revision):
        raise NoSource(f"{text!r} has no usable revision after the @: give a commit, a tag or a branch")
    if found := re.search(r"/(?:tree|commit)/([^/?#]+)/?$", url):
        raise NoSource(f"{text!r} is a page about a revision; write {url[: found.start()]}@{found[1]}")
    if not _FOLDER.fullmatch(source.folder):
        raise NoSource(f"{text!r} does not end in a repository's name")
    return source
