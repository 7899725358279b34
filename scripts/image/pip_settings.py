"""Makes the build of the image use this machine's pip settings: ``python3 -m image.pip_settings FOLDER``.

Writes ``FOLDER/pip.conf``, and prints the folders and files that it names as mounts, ``SOURCE:TARGET:ro``. It runs with
the machine's own Python, so it imports only the standard library.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# A file keeps its name below this folder of the build. Its own folder may belong to the image, such as /etc.
_FILES = "/run/pip"
# Where pip reads and writes on this machine: the build has a cache of its own.
_LEFT_OUT = ("cache-dir", "config-file", "log", "report")
_PATH = re.compile(r"(?:(?<=file://)|(?<!\S))(~?/\S+)")


def main() -> int:
    """Write the settings, and print the mounts."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    settings, mounts = for_build(read(lines))
    text = "".join(f"{name} = {_indented(value)}\n" for name, value in settings.items())
    Path(sys.argv[1], "pip.conf").write_text("[global]\n" + text, encoding="utf-8")
    for source, target in mounts.items():
        print(f"{source}:{target}:ro")
    return 0


def read(lines: list[str]) -> dict[str, str]:
    """Settings by their names, from the lines of ``pip config list``. The environment wins, but for empty values."""
    settings = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        scope, _, written = line.partition("=")
        value = str(ast.literal_eval(written))  # pip prints it as Python writes it.
        if value:
            settings[scope.rsplit(".", 1)[-1]] = value
    return settings


def for_build(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The settings as the build needs them, and what to mount: folders at their own place, files below ``_FILES``."""
    mounts: dict[str, str] = {}

    def inside(match: re.Match[str]) -> str:
        path = Path(match[1]).expanduser()
        if path.is_dir():
            mounts[str(path)] = str(path)
            if (path.parent / "files").is_dir():  # An index in files, whose pages name files beside it.
                mounts[str(path.parent)] = str(path.parent)
            return str(path)
        if path.is_file():
            return mounts.setdefault(str(path), f"{_FILES}/{len(mounts)}-{path.name}")
        return match[1]

    kept = {name: value for name, value in settings.items() if name not in _LEFT_OUT}
    return {name: _PATH.sub(inside, value) for name, value in kept.items()}, mounts


def _indented(value: str) -> str:
    return value.strip().replace("\n", "\n  ")


if __name__ == "__main__":
    sys.exit(main())
