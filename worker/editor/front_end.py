"""Looks for ComfyUI's page, which comes in Python packages of its own, in the versions that the tree names."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.errors import StartError

PAGE = "comfyui-frontend-package"
# Without these the page works, but lists no templates, and shows no help for nodes.
_LACKING = {
    "comfyui-workflow-templates": "the page has no templates",
    "comfyui-embedded-docs": "the page has no help for nodes",
}
_PINNED = re.compile(r"^(comfyui-[a-z-]+)==([^\s;#]+)", re.MULTILINE)


@dataclass(frozen=True)
class _Package:
    name: str
    wanted: str
    installed: str | None

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.wanted}"


def check_front_end(tree: Path) -> Iterator[str]:
    """A warning for each package of the page that is missing or of another version than ``tree`` names.

    Raises:
        StartError: the page itself is not installed. The text has the command that installs it.
    """
    packages = {package.name: package for package in _packages(tree)}
    page = packages.get(PAGE) or _Package(PAGE, "", _version(PAGE))
    if page.installed is None:
        requirement = page.requirement if page.wanted else PAGE
        raise StartError(f"ComfyUI's page is not installed: {_command(requirement)}, as {_named_in(tree)} names it")
    for package in packages.values():
        if package.installed is None and package.name in _LACKING:
            yield f"{_LACKING[package.name]}: {_command(package.requirement)}"
        elif package.installed not in (None, package.wanted):
            yield (
                f"{package.name} is {package.installed}, and {_named_in(tree)} names {package.wanted}: "
                f"{_command(package.requirement)}"
            )


def _packages(tree: Path) -> Iterator[_Package]:
    try:
        text = (tree / "requirements.txt").read_text(encoding="utf-8")
    except OSError:
        return
    for name, wanted in _PINNED.findall(text):
        if name in (PAGE, *_LACKING):
            yield _Package(name, wanted, _version(name))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _named_in(tree: Path) -> str:
    return str(tree / "requirements.txt")


def _command(requirement: str) -> str:
    return f"{shlex.quote(sys.executable)} -m pip install {requirement}"
