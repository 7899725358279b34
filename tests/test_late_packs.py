"""``LAZY_CUSTOM_NODES``: node packs are imported when a job needs them, and nothing else is different."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_packs import NOTICED, QUIET, make_pack, make_packs

PROJECT = Path(__file__).resolve().parents[1]
# Runs the jobs that the first argument has, one after the other, and prints what is found between them.
JOBS = """
import json, sys
from worker import Worker
notices = []
with Worker(say=lambda notice: notices.append(str(notice))) as worker:
    nodes, late = worker.runtime.main.nodes, worker.runtime.late_packs
    def waiting():
        return sorted(path.rpartition("/")[2] for path in late.pending())
    steps = [["start", waiting(), []]]
    for name in json.loads(sys.argv[1]):
        if name == "all":
            dict(nodes.NODE_CLASS_MAPPINGS)
            steps.append([name, waiting(), []])
            continue
        try:
            result = worker.run({"1": {"class_type": name, "inputs": {"text": "said"}}})
            told = [text.text for text in result.texts] + list(result.errors)
        except Exception as error:
            told = [str(error)]
        steps.append([name, waiting(), told])
    names = [[name, str(getattr(node, "RELATIVE_PYTHON_MODULE", ""))] for name, node in nodes.NODE_CLASS_MAPPINGS.items()]
    print(json.dumps({"steps": steps, "names": names, "shown": sorted(nodes.NODE_DISPLAY_NAME_MAPPINGS.items()),
                      "web": nodes.EXTENSION_WEB_DIRS, "folders": sorted(nodes.LOADED_MODULE_DIRS.items()),
                      "notices": [text for text in notices if "LAZY" in text]}))
"""


class Place:
    """A base directory and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.base, self.home, self.packs = folder / "base", folder / "home", folder / "base" / "custom_nodes"
        self.packs.mkdir(parents=True)
        self.home.mkdir()

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A process on it. The index is kept in its home."""
        hook = "from worker.embedded.start import cache_folders as c; import pathlib; P = pathlib.Path"
        code = f"{hook}; c.PROJECT = P.home() / 'project'; import sys; sys.argv = sys.argv[1:]; "
        code += "import runpy; runpy.run_module('worker', run_name='__main__', alter_sys=True)"
        whole = (
            ["-c", code, "worker", *command]
            if command[0] == "index"
            else ["-c", f"{hook}\nc.PROJECT = P.home() / 'project'\n{command[0]}", *command[1:]]
        )  # noqa: E501
        return subprocess.run(
            [sys.executable, "-W", "ignore", *whole],
            cwd=PROJECT,
            env=os.environ | {"COMFY_BASE_DIR": str(self.base), "HOME": str(self.home), "COMFY_ARGS": "--cpu",
                              "DEFER_IMPORTS": "auto", "COMFY_LOG_LEVEL": "WARNING"} | environment,
            capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip

    def index(self, **environment: str) -> dict[str, Any]:
        """Make the index. Returns its table by the packs' names."""
        done = self.run("index", "--json", **environment)
        assert done.returncode == 0, done.stderr
        return {each["pack"]: each for each in json.loads(done.stdout.splitlines()[-1])}

    def jobs(self, *names: str, lazy: bool = True, **environment: str) -> dict[str, Any]:
        """Run jobs with these classes in a new process."""
        given = {"LAZY_CUSTOM_NODES": str(lazy).lower()} | environment
        done = self.run(JOBS, json.dumps(names), **given)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_index_knows_what_each_kind_of_pack_does(place: Place) -> None:
    """And a start with it has the same classes, names and folders as one without, in the same order."""
    make_packs(place.packs)
    table = place.index()
    quiet = {*QUIET, "QuietV3", "QuietFile.py"}
    assert {name: each["reasons"] for name, each in table.items() if name in quiet} == {name: [] for name in quiet}
    missed = {name: table[name]["reasons"] for name, (_, word) in NOTICED.items()
              if not any(word in reason for reason in table[name]["reasons"])}  # fmt: skip
    assert missed == {}
    assert "it has a prestartup script" in table["Prestart"]["reasons"]

    lazy, full = place.jobs("Quiet", "all", "QuietV3", "QuietFile"), place.jobs("Quiet", "QuietV3", lazy=False)
    (_, at_first, _), (_, then, told), (_, at_last, _), (_, _, told_v3), (_, _, told_file) = lazy["steps"]
    assert at_first == sorted(quiet)
    assert then == sorted(quiet - {"Quiet"})
    assert at_last == []
    assert (told, told_v3, told_file) == (["said Quiet"], ["said QuietV3"], ["said QuietFile"])
    for what in ("names", "shown", "web", "folders"):
        assert lazy[what] == full[what]
    assert full["steps"][1:] == [["Quiet", [], ["said Quiet"]], ["QuietV3", [], ["said QuietV3"]]]


def test_an_index_that_does_not_fit_lets_all_packs_be_imported_and_says_so(place: Place) -> None:
    make_pack(place.packs, "One")
    reads = make_pack(place.packs, "Reads", QUIET["QuietReads"])

    def start() -> tuple[list[str], str]:
        found = place.jobs()
        return found["steps"][0][1], " ".join(found["notices"])

    waiting, said = start()
    assert waiting == []
    assert "there is no index" in said
    assert "python -m worker index" in said
    place.index()
    assert start() == (["One", "Reads"], "")
    for file in place.packs.rglob("*.py"):  # As COPY may do it.
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert start() == (["One", "Reads"], "")
    (reads / "level.json").write_text("4")
    waiting, said = start()
    assert waiting == []
    assert "Reads changed after" in said
    (reads / "level.json").write_text("3")
    assert start() == (["One", "Reads"], "")
    make_pack(place.packs, "Two")
    waiting, said = start()
    assert waiting == []
    assert "Two came after" in said
    shutil.rmtree(place.packs / "Two")
    shutil.rmtree(place.packs / "One")
    assert "One went after" in start()[1]
    make_pack(place.packs, "One")
    (kept,) = (place.home / "project" / ".cache").glob("packs-*.json")
    for text in ("{", "[]", '{"rules": 1}', '{"rules": 1, "surroundings": 3, "packs": 4}'):
        kept.write_text(text)
        waiting, said = start()
        assert waiting == []
        assert "LAZY_CUSTOM_NODES=true, but" in said


def test_a_pack_that_fails_when_it_is_needed_fails_that_job_only(place: Place) -> None:
    """It fails as on a machine whose library is broken, which the index was not made on."""
    for name, code in {
        "Raises": "import os\nif os.environ.get('BROKEN'): raise RuntimeError('libcard.so.1 is missing')",
        "Leaves": "import os, sys\nif os.environ.get('BROKEN'): sys.exit('no card')",
        "Fine": "",
        "More": "import os\n",
    }.items():
        make_pack(place.packs, name, code)
    with (place.packs / "More" / "__init__.py").open("a") as file:
        file.write("if os.environ.get('BROKEN'): NODE_CLASS_MAPPINGS['Extra'] = More\n")
    table = place.index()
    assert all(each["waits"] for each in table.values()), table
    found = place.jobs("Raises", "Fine", "Leaves", "Fine", "Raises", "Extra", BROKEN="1")
    _, raises, fine, leaves, again, raises_again, extra = [told for _, _, told in found["steps"]]
    for told in (raises, raises_again):
        assert "Raises" in told[0]
        assert "libcard.so.1 is missing" in told[0]
        assert str(place.base) not in told[0]
    assert "Leaves" in leaves[0]
    assert "sys.exit" in leaves[0]
    assert fine == again == ["said Fine"]
    assert extra == ["said More"], "a class that the pack did not have where the index was made"


def test_packs_that_use_each_other_are_seen(place: Place) -> None:
    make_pack(place.packs, "Used", "def help(): ...")
    make_pack(place.packs, "Uses", "import sys\nothers = [m for n, m in sys.modules.items() if n.endswith('/Used')]\n"
              "import importlib.util as u, os\np = os.path.dirname(os.path.dirname(__file__)) + '/Used'\n"
              "if not others:\n    s = u.spec_from_file_location(p, p + '/__init__.py')\n"
              "    others = [u.module_from_spec(s)]\n    sys.modules[p] = others[0]\n    s.loader.exec_module(others[0])")  # fmt: skip
    table = place.index()
    assert any("uses modules of Used" in reason for reason in table["Uses"]["reasons"])
    assert any("Uses uses its modules" in reason for reason in table["Used"]["reasons"])


def test_the_others_are_imported_while_there_is_no_job(place: Place) -> None:
    for name in ("One", "Two", "Three"):
        make_pack(place.packs, name)
    place.index()
    code = JOBS.replace("    steps =", "    import time\n    time.sleep(3)\n    steps =")
    for idle, expected in (("false", 3), ("true", 0)):
        done = place.run(code, "[]", LAZY_CUSTOM_NODES="true", LAZY_IDLE_IMPORT=idle)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout.splitlines()[-1])["steps"][0][1]) == expected
