"""Finds out which exact version of a pack is meant: asks the Comfy Registry, or the git repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from worker.environment.needs import PackNeed
from worker.environment.packs import NoPack, install_text
from worker.errors import FetchFailed
from worker.fetch.address import checked_address
from worker.fetch.connections import Connections, Unreachable

_LARGEST = 10 << 20  # Bytes of an answer.
_GIT_S = 30
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Registry:
    """The Comfy Registry at ``address``."""

    connections: Connections
    address: str

    def about(self, name: str) -> Mapping[str, Any] | None:
        """What it says of a pack; None if it has none of this name, or does not answer."""
        url = f"{self.address.rstrip('/')}/nodes/{quote(name, safe='')}"
        try:
            with self.connections.open(checked_address(url), {}) as answer:
                found = json.loads(answer.raw.read(_LARGEST)) if answer.status == 200 else None
        except (FetchFailed, Unreachable, OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, Mapping) else None


def with_source(need: PackNeed, registry: Registry) -> PackNeed:
    """``need`` with the repository of a pack of which only a commit is known."""
    if need.repository or not need.revision or not need.registry_id:
        return need
    about = registry.about(need.registry_id)
    repository = about.get("repository") if about else None
    found = replace(need, repository=repository if isinstance(repository, str) else None)
    return found if found.repository and _is_sound(found) else replace(need, revision=None)


def exactly(need: PackNeed, registry: Registry) -> PackNeed:
    """``need`` with the commit or version that it stands for now. Unchanged where nobody can tell."""
    if need.repository:
        if not _is_sound(need) or (need.revision and _COMMIT.fullmatch(need.revision)):
            return need
        commit = _commit(need.repository, need.revision)
        return replace(need, revision=commit) if commit else need
    if need.registry_id and not need.version:
        about = registry.about(need.registry_id)
        latest = about.get("latest_version") if about else None
        version = latest.get("version") if isinstance(latest, Mapping) else None
        return replace(need, version=version) if isinstance(version, str) and version else need
    return need


def _is_sound(need: PackNeed) -> bool:
    try:
        install_text(need)
    except NoPack:
        return False
    return True


def _commit(repository: str, revision: str | None) -> str | None:
    """The commit that a branch, a tag or the default branch stands for now; None if git does not tell."""
    names = (
        ["HEAD"]
        if revision is None
        else [f"refs/heads/{revision}", f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}"]
    )
    command = ["git", "ls-remote", "--quiet", repository, *names]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
    try:
        answer = subprocess.run(  # noqa: S603 - its words were checked.
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = {name: commit for commit, _, name in (line.partition("\t") for line in answer.stdout.splitlines())}
    commit = next((found[name] for name in names if name in found), "")
    return commit if _COMMIT.fullmatch(commit) else None
