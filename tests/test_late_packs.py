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

from worker.embedded.deferred.packs.content import digest, stamp
from worker.embedded.deferred.packs.index import PackEntry, StaleIndex, keep_index, read_index
from worker.embedded.start.source import find_tree
from worker.settings import load_settings

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
    names = [[name, getattr(node, "RELATIVE_PYTHON_MODULE", "")] for name, node in nodes.NODE_CLASS_MAPPINGS.items()]
    print(json.dumps({"steps": steps, "names": names, "shown": sorted(nodes.NODE_DISPLAY_NAME_MAPPINGS.items()),
                      "web": nodes.EXTENSION_WEB_DIRS, "folders": sorted(nodes.LOADED_MODULE_DIRS.items()),
                      "notices": [text for text in notices if "LAZY" in text]}))
"""

# Code of a pack that imports another one if it is not there yet, as some do with packs of the same author.
USES = """
import importlib.util, os, sys
used = os.path.dirname(os.path.dirname(__file__)) + "/Used"
if used not in sys.modules:
    spec = importlib.util.spec_from_file_location(used, used + "/__init__.py")
    sys.modules[used] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[used])
others = [sys.modules[used]]
"""


class Place:
    """A base directory, and a copy of the worker, which keeps its index beside itself."""

    def __init__(self, folder: Path) -> None:
        self.base, self.project, self.packs = folder / "base", folder / "project", folder / "base" / "custom_nodes"
        self.packs.mkdir(parents=True)
        shutil.copytree(PROJECT / "worker", self.project / "worker", ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """``python COMMAND`` on it."""
        tree, _, _ = find_tree(load_settings().comfyui_path)
        given = {"COMFY_BASE_DIR": str(self.base), "COMFYUI_PATH": str(tree), "PYTHONPATH": str(self.project),
                 "COMFY_ARGS": "--cpu", "DEFER_IMPORTS": "auto", "COMFY_LOG_LEVEL": "WARNING"}  # fmt: skip
        return subprocess.run(
            [sys.executable, "-W", "ignore", *command],
            cwd=self.project, env=os.environ | given | environment,
            capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip

    def index(self, **environment: str) -> dict[str, Any]:
        """Make the index. Returns its table by the packs' names."""
        done = self.run("-m", "worker", "index", "--json", **environment)
        assert done.returncode == 0, done.stderr
        return {each["pack"]: each for each in json.loads(done.stdout.splitlines()[-1])}

    def jobs(self, *names: str, lazy: bool = True, **environment: str) -> dict[str, Any]:
        """Run jobs with these classes in a new process."""
        given = {"LAZY_CUSTOM_NODES": str(lazy).lower()} | environment
        done = self.run("-c", JOBS, json.dumps(names), **given)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_index_knows_what_each_kind_of_pack_does(place: Place) -> None:
    make_packs(place.packs)
    table = place.index()
    quiet = {*QUIET, "QuietV3", "QuietFile.py"}
    assert {name: each["reasons"] for name, each in table.items() if name in quiet} == {name: [] for name in quiet}
    missed = {name: table[name]["reasons"] for name, (_, word) in NOTICED.items()
              if not any(word in reason for reason in table[name]["reasons"])}  # fmt: skip
    assert missed == {}
    assert "it has a prestartup script" in table["Prestart"]["reasons"]


def test_a_start_with_the_index_has_the_same_classes(place: Place) -> None:
    """The same classes, names and folders as one without, in the same order. A job imports its own pack only."""
    make_packs(place.packs, noticed=("Wraps", "Routes", "Fails"))
    said = place.jobs()
    assert said["steps"] == [["start", [], []]]
    assert "LAZY_CUSTOM_NODES=true, but" in said["notices"][0]
    assert "there is no index" in said["notices"][0]
    place.index()
    quiet = {*QUIET, "QuietV3", "QuietFile.py"}
    lazy, full = place.jobs("Quiet", "all", "QuietV3", "QuietFile"), place.jobs("Quiet", "QuietV3", lazy=False)
    (_, at_first, _), (_, then, told), (_, at_last, _), (_, _, told_v3), (_, _, told_file) = lazy["steps"]
    assert lazy["notices"] == []
    assert at_first == sorted(quiet)
    assert then == sorted(quiet - {"Quiet"})
    assert at_last == []
    assert (told, told_v3, told_file) == (["said Quiet"], ["said QuietV3"], ["said QuietFile"])
    for what in ("names", "shown", "web", "folders"):
        assert lazy[what] == full[what]
    assert full["steps"][1:] == [["Quiet", [], ["said Quiet"]], ["QuietV3", [], ["said QuietV3"]]]
    (place.packs / "Quiet" / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}")
    changed = place.jobs("QuietV3")
    assert "Quiet changed after" in changed["notices"][0]
    assert changed["steps"][1] == ["QuietV3", [], ["said QuietV3"]]


def entry_of(pack: Path, *read: str) -> PackEntry:
    return PackEntry(names=["A"], read=list(read), stamp=stamp(str(pack), read), digest=digest(str(pack), read))


def test_an_index_is_for_the_packs_as_they_are(tmp_path: Path) -> None:
    cache, packs = [tmp_path / "cache"], tmp_path / "packs"
    one, two = make_pack(packs, "One"), make_pack(packs, "Two")
    both = [str(one), str(two)]

    def stale(installed: list[str] = both, tree: str = "tree") -> str:
        try:
            read_index(cache, tree, installed)
        except StaleIndex as error:
            return str(error)
        return ""

    assert "there is no index" in stale()
    place = keep_index(cache, "tree", {str(one): entry_of(one), str(two): entry_of(two, "level.json")})
    assert place is not None
    assert stale() == ""
    assert stale(both[::-1]) == "", "folders list their files in another order on another disk"
    assert "another ComfyUI" in stale(tree="other")
    for file in packs.rglob("*.*"):  # As COPY may do it.
        os.utime(file, (1_000_000_000, 1_000_000_000))
    (one / "level.json").write_text("only its nodes read it")
    (one / "__pycache__").mkdir()
    (one / "__pycache__" / "a.py").touch()
    (one / "round").symlink_to(one)
    assert stale() == ""
    (two / "level.json").write_text("4")
    assert "Two changed after" in stale()
    (two / "level.json").write_text("3")
    (two / "more.py").touch()
    assert "Two changed after" in stale()
    (two / "more.py").unlink()
    assert stale() == ""
    assert "Two went after" in stale(both[:1])
    assert "Three came after" in stale([*both, str(make_pack(packs, "Three"))])
    for text in ("{", "[]", '{"rules": 1}', '{"rules": 1, "surroundings": 3, "packs": 4}', ""):
        place.write_text(text)
        assert stale()


def test_a_pack_that_fails_when_it_is_needed_fails_that_job_only(place: Place) -> None:
    """It fails as on a machine whose library is broken, which the index was not made on."""
    for name, code in {
        "Raises": "import os\nif os.environ.get('BROKEN'): raise RuntimeError('libcard.so.1 is missing')",
        "Leaves": "import os, sys\nif os.environ.get('BROKEN'): sys.exit('no card')",
        "Fine": "",
        "Slow": "import os, time\nif os.environ.get('BROKEN'): time.sleep(6)",
        "More": "import os\n",
    }.items():
        make_pack(place.packs, name, code)
    with (place.packs / "More" / "__init__.py").open("a") as file:
        file.write("if os.environ.get('BROKEN'): NODE_CLASS_MAPPINGS['Extra'] = More\n")
    table = place.index()
    assert all(each["waits"] for each in table.values()), table
    found = place.jobs("Raises", "Fine", "Leaves", "Slow", "Raises", "Extra", BROKEN="1", JOB_TIMEOUT_S="4")
    _, raises, fine, leaves, slow, raises_again, extra = [told for _, _, told in found["steps"]]
    for told in (raises, raises_again):
        assert "Raises" in told[0]
        assert "libcard.so.1 is missing" in told[0]
        assert str(place.base) not in told[0]
    assert "Leaves" in leaves[0]
    assert "sys.exit" in leaves[0]
    assert fine == ["said Fine"]
    assert slow == ["said Slow"], "no limit of a job counts an import"
    assert extra == ["said More"], "a class that the pack did not have where the index was made"


def test_packs_that_use_each_other_are_seen(place: Place) -> None:
    make_pack(place.packs, "Used", "def help(): ...")
    make_pack(place.packs, "Uses", USES)
    table = place.index()
    assert any("uses modules of Used" in reason for reason in table["Uses"]["reasons"])
    assert any("Uses uses its modules" in reason for reason in table["Used"]["reasons"])


def test_the_others_are_imported_while_there_is_no_job(place: Place) -> None:
    for name in ("One", "Two", "Three"):
        make_pack(place.packs, name)
    place.index()
    code = JOBS.replace("    steps =", "    import time\n    time.sleep(3)\n    steps =")
    for idle, expected in (("false", 3), ("true", 0)):
        done = place.run("-c", code, "[]", LAZY_CUSTOM_NODES="true", LAZY_IDLE_IMPORT=idle)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout.splitlines()[-1])["steps"][0][1]) == expected


ORDER = """
import json
from worker import Worker
editor = {"nodes": [{"id": 1, "type": "After", "inputs": [], "outputs": [], "widgets_values": ["said"]},
                    {"id": 2, "type": "Note", "inputs": [], "outputs": [], "widgets_values": ["a note"]}],
          "links": [], "version": 0.4}
with Worker() as worker:
    late = worker.runtime.late_packs
    def waiting():
        return sorted(path.rpartition("/")[2] for path in late.pending())
    found = [waiting()]
    told = [text.text for text in worker.run(editor).texts]
    found += [told, waiting()]
    import sys
    modules = {name.rpartition("/")[2]: module for name, module in sys.modules.items()}
    worker.run({"1": {"class_type": "Before", "inputs": {"text": ""}}})
    modules = {name.rpartition("/")[2]: module for name, module in sys.modules.items() if "custom_nodes" in name}
    print(json.dumps(found + [modules["Before"].sample is modules["Patches"].old,
                              modules["After"].sample is modules["Patches"].new, modules["After"].seen]))
"""
SEEN = """
import asyncio, logging, sys
from comfy.sample import sample
from server import PromptServer
logging.getLogger().addHandler(logging.NullHandler())
seen = [asyncio.get_running_loop() is PromptServer.instance.loop, sys.argv[0] == "main.py", "--cpu" in sys.argv]
"""


def test_a_late_import_finds_what_it_would_have_found_at_its_place(place: Place, tmp_path: Path) -> None:
    """And the conversion of an editor's graph imports the packs of that graph only."""
    places = iter("abc")  # Folders have an order; the packs in one of them have none.
    for name, code in {"Before": SEEN, "Patches": NOTICED["Wraps"][0], "After": SEEN}.items():
        make_pack(tmp_path / next(places) / "custom_nodes", name, code)
    yaml = "".join(f"{name}:\n  base_path: {tmp_path / name}\n  custom_nodes: custom_nodes\n" for name in "abc")
    (tmp_path / "paths.yaml").write_text(yaml)
    flags = {"COMFY_ARGS": f"--cpu --extra-model-paths-config {tmp_path / 'paths.yaml'}"}
    table = place.index(**flags)
    assert {name: each["waits"] for name, each in table.items()} == {"Before": True, "Patches": False, "After": True}
    done = place.run("-c", ORDER, LAZY_CUSTOM_NODES="true", **flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == [["After", "Before"], ["said After"], ["Before"], True, True, [True, True, True]]


STOPPED = """
import asyncio, json
from worker import Worker
def job(name):
    return {"1": {"class_type": name, "inputs": {"text": "said"}}}
with Worker() as worker:
    async def stopped():
        try:
            await asyncio.wait_for(worker.arun(job("Slow")), 2)
        except TimeoutError:
            return "stopped"
    told = [asyncio.run(stopped()), str(worker.life.failure)]
    told += [text.text for name in ("Fine", "Slow") for text in worker.run(job(name)).texts]
    print(json.dumps(told))
"""


def test_a_job_that_is_stopped_while_its_pack_is_imported_ends_and_the_next_one_runs(place: Place) -> None:
    """The import takes longer than a node that does not stop is given."""
    make_pack(place.packs, "Fine")
    make_pack(place.packs, "Slow", "import os, time\nif os.environ.get('BROKEN'): time.sleep(15)")
    place.index()
    done = place.run("-c", STOPPED, LAZY_CUSTOM_NODES="true", BROKEN="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["stopped", "None", "said Fine", "said Slow"]
