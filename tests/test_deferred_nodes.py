"""ComfyUI's own node classes are loaded when they are asked for, and nobody can tell from the mapping."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from worker import Worker
from worker.embedded.deferred.nodes.circles import reaches_circle
from worker.embedded.deferred.nodes.effects import has_effects
from worker.embedded.deferred.nodes.index import NodeFile, NodeIndex
from worker.embedded.deferred.nodes.mapping import NodeClassMappings, load_classes, loaded_classes

FULL = {"Base": int, "One": str, "Two": bytes, "Other": float}


class Files:
    """Stands for ComfyUI's files: ``a.py`` has two classes, ``b.py`` has one. Those of ``failing`` fail twice."""

    def __init__(self, *failing: str) -> None:
        self.loaded: list[str] = []
        self.failing = dict.fromkeys(failing, 2)

    def load(self, path: str) -> Mapping[str, Any]:
        self.loaded.append(path)
        if self.failing.get(path, 0) > 0:
            self.failing[path] -= 1
            if self.failing[path]:
                raise ImportError(path)
            return {}
        return {"One": str, "Two": bytes} if path == "a.py" else {"Other": float}

    def is_loading(self, _path: str) -> bool:
        return False


def make(files: Files) -> NodeClassMappings:
    mappings = NodeClassMappings({"Base": int}, files)  # type: ignore[arg-type]
    for name in ("One", "Two"):
        mappings.expect(name, "a.py")
    mappings.expect("Other", "b.py")
    return mappings


@pytest.mark.parametrize(
    "ask",
    [
        len, list, lambda m: "Two" in m, lambda m: list(m.keys()), lambda m: set(m),
        lambda m: "Missing" in m, lambda m: m.get("Missing"), lambda m: m["Base"], loaded_classes,
        lambda m: {"Base", "One"} & m.keys(), lambda m: next(reversed(m)),
    ],
)  # fmt: skip
def test_names_load_nothing(ask: Callable[[Any], object]) -> None:
    files = Files()
    ask(make(files))
    assert files.loaded == []


@pytest.mark.parametrize(
    "ask",
    [
        dict, lambda m: {**m}, lambda m: m.copy(), lambda m: dict(m.items()), lambda m: {name: m[name] for name in m},
        copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: {} | m, lambda m: m | {},  # noqa: S301
        lambda m: dict(zip(m, m.values(), strict=True)), lambda m: {name: m.get(name) for name in m.keys()},  # noqa: SIM118
        lambda m: (lambda new: new.update(m) or new)({}), lambda m: (lambda **names: names)(**m),
        lambda m: {name: m.setdefault(name, None) for name in list(m)},
        lambda m: {name: m.pop(name) for name in list(m)},
        lambda m: {name: m.keys().mapping[name] for name in m}, lambda m: dict(m.popitem() for _ in range(4)),
    ],
)  # fmt: skip
def test_every_way_of_reading_gives_the_classes(ask: Callable[[Any], Any]) -> None:
    files = Files()
    assert ask(make(files)) == FULL
    assert sorted(files.loaded) == ["a.py", "b.py"]


def test_it_equals_and_shows_as_a_full_dict() -> None:
    assert make(Files()) == FULL
    assert make(Files()) != {}
    assert repr(make(Files())) == repr(FULL)
    assert list(make(Files())) == list(FULL)
    assert make(Files()) == make(Files())


def test_a_class_brings_its_file_and_no_other() -> None:
    files = Files()
    mappings = make(files)
    assert mappings["Two"] is bytes
    assert mappings["One"] is str
    assert files.loaded == ["a.py"]
    assert loaded_classes(mappings) == [("Base", int), ("One", str), ("Two", bytes)]


def test_what_a_pack_puts_in_or_removes_stays() -> None:
    files = Files()
    mappings = make(files)
    mappings["One"] = list
    del mappings["Two"]
    mappings.update(Other=set)
    assert dict(mappings) == {"Base": int, "One": list, "Other": set}
    assert files.loaded == []


def test_a_file_that_fails_once_is_tried_again() -> None:
    failing = make(Files("a.py"))
    with pytest.raises(ImportError):
        failing["One"]
    assert "One" in failing
    load_classes(failing, ["One", None, "Missing"])
    assert "One" not in failing, "as where ComfyUI's own start could not load the file"
    assert "Two" not in failing
    assert dict(failing) == {"Base": int, "Other": float}


def test_all_files_are_asked_where_all_classes_are() -> None:
    assert make(Files("b.py")).copy() == {"Base": int, "One": str, "Two": bytes}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\nX = 1\nclass A:\n    B = 2\n    def f(self): print()\n", False),
        ("NODES = {}\nfor x in (1,):\n    NODES[x] = x\n", False),
        ("import logging\nlogging.info('loaded')\n", False),
        ("try:\n    import package_that_is_not_there\n    print()\nexcept ImportError:\n    pass\n", False),
        ("try:\n    import json\n    print()\nexcept ImportError:\n    pass\n", True),
        ("import comfy.samplers\ncomfy.samplers.x = 1\n", True),
        ("import folder_paths\nfolder_paths.add_model_folder_path('a', 'b')\n", True),
        ("from server import PromptServer\n@PromptServer.instance.routes.get('/a')\nasync def a(request): ...\n", True),
        ("import os\nos.environ['A'] = 'b'\n", True),
        ("from nodes import NODE_CLASS_MAPPINGS\nNODE_CLASS_MAPPINGS['a'] = 1\n", True),
        ("class E:\n    async def on_load(self): ...\n", True),
        ("start()\n", True),
        ("with open('a') as file: pass\n", True),
        ("class A:\n    register()\n", True),
    ],
)
def test_a_file_that_changes_something_is_loaded_at_the_start(tmp_path: Path, source: str, expected: bool) -> None:
    (tmp_path / "nodes_a.py").write_text(source)
    assert has_effects(tmp_path / "nodes_a.py") is expected


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A ComfyUI tree of two files."""
    (tmp_path / "tree" / "comfy_extras").mkdir(parents=True)
    for name in ("nodes.py", "comfy_extras/nodes_a.py"):
        (tmp_path / "tree" / name).write_text("A = 1\n")
    return tmp_path / "tree"


def test_the_index_is_kept_for_the_tree_as_it_is(tree: Path, tmp_path: Path) -> None:
    file = tree / "comfy_extras" / "nodes_a.py"
    cache = [tmp_path / "cache"]
    index = NodeIndex(cache, tree)
    assert index[str(file)] is None
    index.add(str(file), NodeFile(["A"], {"A": "An A"}))
    index.keep()
    assert NodeIndex(cache, tree)[str(file)] == NodeFile(["A"], {"A": "An A"})
    status = file.stat()
    os.utime(file, (status.st_atime, status.st_mtime + 5))
    assert NodeIndex(cache, tree)[str(file)] is None, "a file is newer"
    os.utime(file, (status.st_atime, status.st_mtime))
    assert NodeIndex(cache, tree)[str(file)] is not None


def test_the_index_is_for_the_packages_that_it_was_made_with(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache, site = str(tree / "nodes.py"), [tmp_path / "cache"], tmp_path / "site"
    index = NodeIndex(cache, tree)
    index.add(file, NodeFile([], {}, absent=["package_of_later"]))
    index.keep()
    monkeypatch.syspath_prepend(str(site))
    (site / "some_package-2.0.dist-info").mkdir(parents=True)
    assert NodeIndex(cache, tree)[file] is not None, "ComfyUI does not use it"
    (site / "package_of_later").mkdir()
    (site / "package_of_later" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert NodeIndex(cache, tree)[file] is None
    (kept,) = cache[0].iterdir()
    made_with = json.loads(kept.read_text())
    assert any(name.startswith("pytest_") for name in made_with["packages"])
    (site / "package_of_later" / "__init__.py").unlink()
    (site / "package_of_later").rmdir()
    importlib.invalidate_caches()
    assert NodeIndex(cache, tree)[file] is not None
    kept.write_text(json.dumps(made_with | {"packages": ["pytest_0.0.1"]}))
    assert NodeIndex(cache, tree)[file] is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"a": {"other": 1}}}'])
def test_an_index_that_cannot_be_read_is_made_anew(tree: Path, tmp_path: Path, text: str) -> None:
    index = NodeIndex([tmp_path / "cache"], tree)
    index.add(str(tree / "nodes.py"), NodeFile([], {}))
    index.keep()
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text(text)
    assert NodeIndex([tmp_path / "cache"], tree)[str(tree / "nodes.py")] is None


def test_where_nothing_can_be_written_the_start_goes_on(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = NodeIndex([tmp_path / "file"], tree)
    index.add(str(tree / "nodes.py"), NodeFile([], {}))
    index.keep()
    assert NodeIndex([tmp_path / "file"], tree)[str(tree / "nodes.py")] is None


FACTS = """
import json, os, sys
from pathlib import Path
from worker import Worker
from worker.embedded.deferred import switch
switch.cache_folders = lambda: [Path.home()]
with Worker() as worker:
    nodes = worker.runtime.main.nodes
    names, shown = list(nodes.NODE_CLASS_MAPPINGS), sorted(nodes.NODE_DISPLAY_NAME_MAPPINGS.items())
    def runs(name):
        return name in sys.modules and type(sys.modules[name]).__name__ != "DeferredModule"
    def fails_as_first(file):
        # Before all others, in a copy of this process.
        child = os.fork()
        if not child:
            try:
                nodes.NODE_CLASS_MAPPINGS._files.load(file)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1] != 0
    passed_over = getattr(nodes.NODE_CLASS_MAPPINGS, "pending_files", list)()
    failed = [file for file in passed_over if fails_as_first(file)]
    early = [name for name in ("scipy.stats", "kornia", "torch._dynamo", "transformers") if runs(name)]
    files = [name for name in sys.modules if "comfy_extras/" in name or "comfy_api_nodes/" in name]
    classes = [[name, node.__module__, node.__qualname__, getattr(node, "RELATIVE_PYTHON_MODULE", "")]
               for name, node in nodes.NODE_CLASS_MAPPINGS.items()]
    dataset = nodes.NODE_CLASS_MAPPINGS.get("SaveImageDataSetToFolder")
    guarded = dataset is None or dataset.execute.__func__.__code__.co_name == "checked"
    print(json.dumps([names, shown, classes, early, len(files), guarded, sorted(nodes.LOADED_MODULE_DIRS),
                      failed]))
"""


def facts(base: Path, home: Path, **environment: str) -> list[Any]:
    """What a process of its own finds in ComfyUI's mapping."""
    answer = subprocess.run(
        [sys.executable, "-c", FACTS],
        env=os.environ | {"COMFY_BASE_DIR": str(base), "HOME": str(home), "COMFY_ARGS": "--cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    found: list[Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def test_a_start_that_defers_has_the_same_nodes(tmp_path: Path) -> None:
    """Off, then with no index, and then with the index that the second one has written."""
    base = tmp_path / "base"
    base.mkdir()
    full, first, second = (facts(base, tmp_path, DEFER_IMPORTS=how) for how in ("off", "auto", "auto"))
    for found in (first, second):
        assert found[:3] == full[:3]
        assert found[5:] == full[5:]
    assert first[5] is True
    assert full[4] == first[4] > 90
    assert second[4] < 7, "all but the files that change something"
    assert second[3] == []
    assert "transformers" in full[3]


def test_what_nobody_asked_for_is_not_loaded(worker: Worker) -> None:
    nodes = worker.embedded_runtime().main.nodes
    if worker.settings.defer_imports != "auto":
        pytest.skip("the tests run without DEFER_IMPORTS=auto")
    assert isinstance(nodes.NODE_CLASS_MAPPINGS, NodeClassMappings)
    assert worker.embedded_runtime().has_node_class("ImageScaleToTotalPixels")
    result = worker.run({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
        "2": {"class_type": "ImageToMask", "inputs": {"image": ["1", 0], "channel": "blue"}},
        "3": {"class_type": "GrowMask", "inputs": {"mask": ["2", 0], "expand": 2, "tapered_corners": True}},
        "4": {"class_type": "MaskToImage", "inputs": {"mask": ["3", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "late"}},
    })  # fmt: skip
    assert not result.errors
    assert result.images[0].getpixel((0, 0)) == (255, 255, 255)


def test_a_mapping_says_what_a_broken_file_is_by_the_second_time() -> None:
    failing = make(Files("a.py"))
    for error in (ImportError, KeyError, KeyError):
        with pytest.raises(error):
            failing["Two"]
    assert failing.get("One", "none") == "none"


ALONE = """
import os, sys, traceback
from worker import Worker
from worker.embedded.deferred.modules.module import DeferredModule
worker = Worker()
worker.start()
names = sorted(name for name, module in list(sys.modules.items()) if type(module) is DeferredModule)
bad = []
for name in names:
    child = os.fork()
    if child == 0:
        try:
            dir(sys.modules[name])
            os._exit(type(sys.modules[name]) is DeferredModule)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        bad.append(name)
for name in reversed(names):
    dir(sys.modules[name])
print(len(names), bad, flush=True)
os._exit(0)
"""


@pytest.mark.full
def test_each_deferred_module_can_be_the_first_that_is_used(tmp_path: Path) -> None:
    """Modules that import each other may need an order: each is first in a process of its own, then all backwards."""
    (tmp_path / "base").mkdir()
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE],
        env=os.environ | {"COMFY_BASE_DIR": str(tmp_path / "base"), "COMFY_ARGS": "--cpu", "DEFER_IMPORTS": "auto"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr
    count, bad = answer.stdout.splitlines()[-1].split(" ", 1)
    assert int(count) > 50
    assert bad == "[]", answer.stderr


def test_files_that_import_each_other_are_found(tmp_path: Path) -> None:
    package = tmp_path / "extras"
    package.mkdir()
    sources = {
        "one": "import extras.two", "two": "from extras.one import name", "into": "from .one import name",
        "three": "from extras import four\nimport torch", "four": "from extras.no_such import name",
    }  # fmt: skip
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    assert [name for name in sources if reaches_circle(package / f"{name}.py")] == ["one", "two", "into"]
