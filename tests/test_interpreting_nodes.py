"""docs/interpreting-nodes.md lists every place in ComfyUI's nodes that interprets a text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from reviewing.traits import interpreting

from worker.embedded.start.source import find_tree
from worker.settings import load_settings

# The nodes, and what reads prompts, names of files, and embeddings for them.
PLACES = (
    "nodes.py", "node_helpers.py", "folder_paths.py", "comfy_extras/**/*.py", "comfy_api_nodes/**/*.py",
    "comfy_api/latest/_ui.py", "comfy/sd1_clip.py", "comfy/sdxl_clip.py", "comfy/text_encoders/**/*.py",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the table: patterns of files, what is done there, and the guards that it names."""

    files: list[str]
    kinds: list[str]
    nodes: list[str]
    guards: list[str]


@pytest.fixture(scope="module")
def rows(project: Path) -> list[Row]:
    """The table of the page."""
    lines = (project / "docs" / "interpreting-nodes.md").read_text("utf-8").splitlines()
    cells = [
        [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")
    ]
    return [
        Row(files, kinds, nodes, [name for name in text if name.endswith(".py")]) for files, kinds, nodes, text in cells
    ]


def survey(tree: Path) -> Iterator[tuple[str, str]]:
    """Every file that interprets a text, with what it does."""
    for place in PLACES:
        for path in tree.glob(place):
            parsed = ast.parse(path.read_text("utf-8"))
            for kind in {kind for node in ast.walk(parsed) for kind in interpreting(node)}:
                yield path.relative_to(tree).as_posix(), kind


@pytest.fixture(scope="module")
def found() -> set[tuple[str, str]]:
    """What the tree that is tested does."""
    return set(survey(find_tree(load_settings().comfyui_path)[0]))


def is_listed(path: str, kind: str, rows: list[Row]) -> bool:
    """Whether a row has this kind for this file."""
    return any(kind in row.kinds and any(fnmatchcase(path, pattern) for pattern in row.files) for row in rows)


def test_no_place_that_interprets_a_text_is_missing(found: set[tuple[str, str]], rows: list[Row]) -> None:
    assert len(found) > 25
    assert [item for item in sorted(found) if not is_listed(*item, rows)] == []


def test_each_guard_that_is_named_exists(project: Path, rows: list[Row]) -> None:
    named = {name for row in rows for name in row.guards}
    assert {"expressions.py", "texts.py", "patterns.py", "paths.py", "prompts.py"} <= named
    assert [name for name in named if not (project / "worker" / "embedded" / "guards" / name).is_file()] == []


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("eval(text)", {"eval"}),
        ("text.format(a=1)", {"format"}),
        ("'{}'.format(text)", set()),
        ("text % (1, 2)", {"%"}),
        ("model.eval()", set()),
        ("builtins.eval(text)", {"eval"}),
        ("re.sub(a, b, c)", {"re.sub"}),
        ("json.dumps(text)", set()),
        ("from json import loads", {"json.loads"}),
        ("import re as r", {"import re as r"}),
        ("jinja2.Environment().from_string(text)", {"jinja2.Environment", "from_string"}),
        ("subprocess.run(text)", {"subprocess.run"}),
        ("os.system(text)", {"system"}),
        ("text.replace('%date%', now)", {"%token%"}),
        ("string.Template(text).substitute(a=1)", {"substitute"}),
    ],
)
def test_the_survey_sees(source: str, kinds: set[str]) -> None:
    assert {kind for node in ast.walk(ast.parse(source)) for kind in interpreting(node)} == kinds
