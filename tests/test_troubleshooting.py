"""The errors that docs/troubleshooting.md explains are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PLATFORM = "driver on your system is too old", "Allocation on device", "CUDA out of memory"


def strings(worker: Path) -> list[str]:
    """Every text in the worker's code; what is put into it when it runs is left out."""
    found = []
    for path in worker.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                found.append("".join(str(part) for part in parts))
    return found


def test_the_errors_that_are_explained_are_those_of_the_code(project: Path) -> None:
    text = (project / "docs" / "troubleshooting.md").read_text().split("## Symptoms")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    quoted = [piece for row in rows for piece in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 30
    known = strings(project / "worker")
    unknown = [piece for piece in quoted if piece not in PLATFORM and not any(piece in text for text in known)]
    assert unknown == []
