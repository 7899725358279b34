"""Checks out a revision of a git repository, with its submodules."""

from __future__ import annotations

from pathlib import Path

from node_packs.failure import PackFailed
from node_packs.process import Finished, run
from node_packs.source import GitSource

# A server that asks for a password, or sends nothing for half a minute, must not block the build: the pack fails.
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
    "LC_ALL": "C",
}
_ALL = ("--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")


def check_out(source: GitSource, folder: Path) -> str:
    """Put the revision into ``folder``, which is made. Returns its commit.

    ``.git`` stays, so that ComfyUI-Manager and a later run know the revision. It holds only this commit, if the server
    can send single commits.

    Raises:
        PackFailed: the repository, the revision or a submodule cannot be fetched.
    """
    folder.mkdir()
    _git(source, folder, "init", "--quiet")
    _git(source, folder, "remote", "add", "origin", source.url)
    commit = _fetch(source, folder)
    _git(source, folder, "checkout", "--quiet", "--detach", commit)
    update = ("submodule", "--quiet", "update", "--init", "--recursive")
    if _try(folder, *update, "--depth", "1").code:
        _git(source, folder, *update)
    return commit


def head(folder: Path) -> str | None:
    """The commit that is checked out in ``folder``; None if it is no repository."""
    if not (folder / ".git").exists():
        return None
    answer = _try(folder, "rev-parse", "HEAD")
    return None if answer.code else answer.output.strip()


def has_changes(folder: Path) -> bool:
    """Whether files of the repository in ``folder`` differ from its commit, other than compiled ones."""
    status = ("status", "--porcelain", "-uno", "--", ".", ":!*.pyc")
    return head(folder) is not None and bool(_try(folder, *status).output.strip())


def _fetch(source: GitSource, folder: Path) -> str:
    if _try(folder, "fetch", "--quiet", "--depth", "1", "origin", source.revision or "HEAD").code == 0:
        return _git(source, folder, "rev-parse", "FETCH_HEAD^{commit}")
    # The revision is a shortened commit, or the server sends only whole histories. So fetch everything.
    if source.revision is None:
        _git(source, folder, "fetch", "--quiet", "origin", "HEAD")
        return _git(source, folder, "rev-parse", "FETCH_HEAD^{commit}")
    _git(source, folder, "fetch", "--quiet", *_ALL)
    for name in (source.revision, f"origin/{source.revision}"):
        answer = _try(folder, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
        if answer.code == 0:
            return answer.output.strip()
    raise PackFailed(f"{source.shown} has no revision {source.revision}")


def _git(source: GitSource, folder: Path, *arguments: str) -> str:
    answer = _try(folder, *arguments)
    if answer.code:
        said = answer.output.replace(source.url, source.shown).strip().splitlines() or [f"exit code {answer.code}"]
        reason = next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1])
        raise PackFailed(f"git {arguments[0]} of {source.shown} failed: {reason}")
    return answer.output.strip()


def _try(folder: Path, *arguments: str) -> Finished:
    return run(["git", *arguments], folder, _ENVIRONMENT)
