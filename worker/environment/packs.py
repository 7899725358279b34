"""Finds out which node packs are there, in which version, and how scripts/install-nodes gets a missing one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.environment.needs import PackNeed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
# What comes over plain http could be changed on the way, and it is code. Within this machine nobody can.
_REPOSITORY = re.compile(r"(?:https://[A-Za-z0-9.-]+|http://(?:127\.0\.0\.1|localhost))(?::\d+)?/[A-Za-z0-9._~/-]+")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECTION = re.compile(r'\[remote "origin"\][^\[]*?\burl\s*=\s*(\S+)')


class NoPack(Exception):
    """The pack cannot be named to the installer. The text says why."""


@dataclass(frozen=True)
class InstalledPack:
    """A node pack that is there.

    Attributes:
        registry_id, version: its name and version in the Comfy Registry, if it comes from there or says so.
        repository, commit: of its git repository, if it is one.
    """

    folder: Path
    registry_id: str | None = None
    version: str | None = None
    repository: str | None = None
    commit: str | None = None

    def has(self, need: PackNeed) -> bool:
        """Whether it is the pack that is needed, in whatever version."""
        if need.registry_id and need.registry_id.lower() in {_lower(self.registry_id), self.folder.name.lower()}:
            return True
        wanted, own = _plain(need.repository), _plain(self.repository)
        if wanted and own:
            return wanted == own
        return bool(wanted) and wanted.rpartition("/")[2] == self.folder.name.lower()

    def is_as(self, need: PackNeed) -> bool:
        """Whether it has the version that is needed. True if none is named."""
        if need.revision:
            return bool(self.commit) and (self.commit or "").startswith(need.revision)
        return need.version is None or need.version == self.version

    @property
    def shown(self) -> str:
        """Its version, for a person."""
        return self.commit[:12] if self.commit else self.version or "an unknown version"


def installed_packs(custom_nodes: Iterable[Path]) -> list[InstalledPack]:
    """The packs in these folders, without those that are switched off."""
    return [
        _installed(path)
        for folder in custom_nodes
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith((".", "__")) and not path.name.endswith(".disabled")
    ]


def install_text(need: PackNeed) -> str:
    """How ``scripts/install-nodes`` is told to get this pack.

    Raises:
        NoPack: the file names it in a way that cannot be trusted.
    """
    if need.repository:
        if not _REPOSITORY.fullmatch(need.repository) or "/." in need.repository:
            raise NoPack(f"its repository {need.repository[:200]!r} is no https address")
        if need.revision and not _REVISION.fullmatch(need.revision):
            raise NoPack(f"its revision {need.revision[:80]!r} is no commit, tag or branch")
        return f"{need.repository}@{need.revision}" if need.revision else need.repository
    name, version = need.registry_id or "", need.version
    if not _NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
        raise NoPack(f"{name[:80]!r} in version {str(version)[:80]!r} is no name of a pack")
    return f"{name}@{version}" if version else name


def lock_entry(pack: InstalledPack, need: PackNeed) -> dict[str, str] | None:
    """The entry for a build file of exactly the pack that is there; None if it does not tell what it is."""
    if pack.repository and pack.commit:
        entry = {"name": pack.folder.name, "repository": _https(pack.repository), "gitRef": pack.commit}
        return {**entry, "id": need.registry_id} if need.registry_id else entry
    if pack.registry_id and pack.version:
        return {"name": pack.registry_id, "id": pack.registry_id, "registryVersion": pack.version}
    return None


def need_entry(need: PackNeed) -> dict[str, str] | None:
    """The entry for a build file of a pack that is not there; None if its file does not name it exactly."""
    if need.repository and need.revision and _COMMIT.fullmatch(need.revision):
        entry = {"name": need.name, "repository": need.repository, "gitRef": need.revision}
        return {**entry, "id": need.registry_id} if need.registry_id else entry
    if need.registry_id and need.version and not need.repository:
        return {"name": need.registry_id, "id": need.registry_id, "registryVersion": need.version}
    return None


def _installed(folder: Path) -> InstalledPack:
    registry_id, version = _project(folder)
    repository, commit = _git(folder)
    return InstalledPack(folder, registry_id, version, repository, commit)


def _project(folder: Path) -> tuple[str | None, str | None]:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):
        return None, None
    values = (project.get(key) if isinstance(project, dict) else None for key in ("name", "version"))
    name, version = (value if isinstance(value, str) else None for value in values)
    return name, version


def _git(folder: Path) -> tuple[str | None, str | None]:
    """The origin and the commit of a repository, read from its files: git refuses those of other users."""
    git = folder / ".git"
    try:
        if git.is_file():
            git = folder / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        found = _SECTION.search((git / "config").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, None
    return found[1] if found else None, _commit(git, head)


def _commit(git: Path, head: str) -> str | None:
    if not head.startswith("ref: "):
        return head if _COMMIT.fullmatch(head) else None
    name = head.removeprefix("ref: ")
    try:
        return (git / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        pass
    try:
        lines = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line[:40] for line in lines if line[40:].strip() == name), None)


def _https(repository: str) -> str:
    """An address that everybody can read, without the user name or token that it may have."""
    found = re.fullmatch(r"(?:ssh://)?git@([\w.-]+)[:/](.+)", repository)
    return f"https://{found[1]}/{found[2]}" if found else re.sub(r"(https?://)[^/@]*@", r"\1", repository)


def _plain(repository: str | None) -> str:
    return re.sub(r"^https?://", "", _https(repository or "").rstrip("/").removesuffix(".git")).lower()


def _lower(text: str | None) -> str:
    return (text or "").lower()
