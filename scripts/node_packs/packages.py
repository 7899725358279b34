"""Plans and installs the Python packages that a pack needs, with pip.

torch, its companions, and the CUDA libraries and Triton that it was built against stay as they are, since ComfyUI runs
on exactly these. Any other package may change, and each change is reported.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_packs.failure import PackFailed, PackRefused
from node_packs.process import run

# nvidia-ml-py only asks the driver for figures; nothing was built against it.
_PROTECTED = re.compile(r"torch|torchvision|torchaudio|(pytorch-)?triton|cuda-.+|nvidia-(?!ml-py).+")
_LIST = """
import importlib.metadata, json
found = {}
for package in importlib.metadata.distributions():
    if package.metadata["Name"]:
        found.setdefault(package.metadata["Name"], package.version)
print(json.dumps(found))
"""
_PIP = (sys.executable, "-m", "pip", "install", "--no-input", "--no-color", "--disable-pip-version-check")
_QUIETER = ("--progress-bar", "off", "--root-user-action", "ignore")


@dataclass(frozen=True)
class Change:
    """A package that pip installs. ``before``: the version that is replaced, or None."""

    name: str
    before: str | None
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}" if self.before else f"{self.name} {self.after}"


@dataclass(frozen=True)
class Packages:
    """The packages of this Python. ``scratch``: a folder for constraints and cache.

    ``protected``: versions, by name, of the packages that must not change.
    """

    scratch: Path
    protected: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for pip, which also hold if a pack's own script starts pip."""
        constraints = str(self.scratch / "constraints.txt")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        found = {
            "PATH": path,
            "PIP_CONSTRAINT": f"{os.environ.get('PIP_CONSTRAINT', '')} {constraints}".strip(),
            "UV_CONSTRAINT": f"{os.environ.get('UV_CONSTRAINT', '')} {constraints}".strip(),
            "GIT_TERMINAL_PROMPT": "0",
        }
        if os.environ.get("PIP_NO_CACHE_DIR"):
            # Images switch pip's cache off. Then pip would download each package twice, to plan and to install. An
            # empty value counts as not set; any other value, even 0, switches the cache off.
            found |= {"PIP_NO_CACHE_DIR": "", "PIP_CACHE_DIR": str(self.scratch / "cache")}
        return found

    def plan(self, arguments: tuple[str, ...], folder: Path) -> tuple[Change, ...]:
        """What ``pip install`` would do with ``arguments`` in ``folder``.

        Raises:
            PackRefused: pip would have to change a protected package.
            PackFailed: pip cannot install this.
        """
        report = self.scratch / "report.json"
        report.unlink(missing_ok=True)
        command = (*_PIP, *_QUIETER, "--dry-run", "--report", str(report), *arguments)
        answer = run(command, folder, self.environment)
        if answer.code or not report.is_file():
            failure = self._failure(answer.output)
            if not isinstance(failure, PackRefused):
                print(answer.output, file=sys.stderr)
            raise failure
        before = _installed()
        changes = tuple(_change(item, before) for item in json.loads(report.read_text(encoding="utf-8"))["install"])
        for change in changes:
            if change.name in self.protected:
                raise PackRefused(f"it would replace {change}")
        return changes

    def install(self, arguments: tuple[str, ...], folder: Path) -> None:
        """Run ``pip install`` with ``arguments`` in ``folder``. Its output is shown.

        Raises:
            PackFailed: pip fails.
        """
        if run((*_PIP, *_QUIETER, *arguments), folder, self.environment, show=True).code:
            raise PackFailed("pip could not install its requirements; pip's message stands above")

    def check_protected(self) -> None:
        """Check that the protected packages have not changed since the start.

        Raises:
            PackFailed: some have changed. The text says how to restore them.
        """
        now = _installed()
        changed = {name: version for name, version in self.protected.items() if now.get(name) != version}
        if changed:
            what = ", ".join(f"{name} {version} → {now.get(name, 'removed')}" for name, version in changed.items())
            pins = " ".join(f"{name}=={version}" for name, version in changed.items())
            raise PackFailed(
                f"protected packages were replaced: {what}. Restore them with `{sys.executable} -m pip install "
                f"--no-deps --force-reinstall {pins}`, from the index that they came from, or build the image anew"
            )

    def _failure(self, output: str) -> PackFailed:
        needs, constraints = _conflict(output)
        if kept := [f"{name} {self.protected[name]}" for name in constraints if name in self.protected]:
            return PackRefused(f"{'; '.join(needs)}, but {', '.join(kept)} is installed here and stays")
        if needs:
            return PackFailed(f"its requirements conflict: {'; '.join(needs + constraints)}")
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line for sign in ("ERROR:", "×", "error:") for line in lines if line.startswith(sign)]
        reason = (errors or lines or ["no output"])[0]
        return PackFailed(f"pip: {reason.removeprefix('ERROR: ').removeprefix('× ')}")


def read_packages(scratch: Path) -> Packages:
    """Note the protected packages, and write them down as pip's constraints.

    Raises:
        PackFailed: this Python has no pip.
    """
    installed = _installed()
    if "pip" not in installed:
        raise PackFailed(f"{sys.executable} has no pip: install it with `{sys.executable} -m ensurepip`")
    protected = {name: version for name, version in installed.items() if _PROTECTED.fullmatch(name)}
    # === allows only the installed build: torch==2.14.1 would also allow another build, such as 2.14.1+cpu.
    lines = (f"{name}==={version}\n" for name, version in protected.items())
    (scratch / "constraints.txt").write_text("".join(lines), encoding="utf-8")
    return Packages(scratch, protected)


def pip_arguments(folder: Path, scratch: Path) -> tuple[str, ...]:
    """pip's arguments for the requirements of the pack in ``folder``; empty if it has none.

    They come from ``requirements.txt``. If there is none, they come from ``pyproject.toml``, as for some packs of the
    registry.

    Raises:
        PackFailed: ``pyproject.toml`` cannot be read.
    """
    if (folder / "requirements.txt").is_file():
        return ("-r", "requirements.txt")
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise PackFailed(f"its pyproject.toml cannot be read: {error}") from None
    found = project.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
        raise PackFailed("its pyproject.toml has dependencies that are no list of texts")
    if not found:
        return ()
    requirements = scratch / "requirements.txt"
    requirements.write_text("\n".join(found), encoding="utf-8")
    return ("-r", str(requirements))


def _change(item: Mapping[str, Any], before: Mapping[str, str]) -> Change:
    name = _canonical(item["metadata"]["name"])
    return Change(name, before.get(name), item["metadata"]["version"])


def _installed() -> dict[str, str]:
    """Installed versions by name. A new process reads them, since this one may have cached old ones."""
    answer = run((sys.executable, "-P", "-c", _LIST), Path.cwd(), {})
    return {_canonical(name): version for name, version in json.loads(answer.output).items()}


def _conflict(output: str) -> tuple[list[str], list[str]]:
    """Read pip's message about a conflict: lines on what needs what, and the names of the constraints against it."""
    _, _, block = output.partition("The conflict is caused by:\n")
    needs, constraints = [], []
    for line in block.partition("\n\n")[0].splitlines():
        text = line.strip().removeprefix("The user requested ")
        if found := re.match(r"\(constraint\) ([\w.-]+)", text):
            constraints.append(_canonical(found[1]))
        else:
            needs.append(text if " depends on " in text else f"it asks for {text}")
    return needs, constraints


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
