"""What Python had to compile is kept: later starts do not compile it again, and no state of the cache fails one."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from worker.embedded.bytecode import place as place_module
from worker.embedded.bytecode.place import Place
from worker.embedded.bytecode.switch import keep_bytecode, places
from worker.embedded.start.launch import plan_launch
from worker.embedded.start.source import find_tree
from worker.engine.workspace import open_state
from worker.settings import Settings

# Loads a pack as ComfyUI does, in a process of its own, and waits until what it had to compile is kept.
LOAD = """
import importlib.machinery, importlib.util, json, os, resource, sys, time
from pathlib import Path
from worker.embedded.bytecode.loader import BytecodeCache
from worker.embedded.bytecode.place import Place

sys.dont_write_bytecode = True
packs, pack, *folders = sys.argv[1:]
began = time.time_ns()
compiled = []
python = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(self, data, path, **options):
    compiled.append(path)
    return python(self, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
cache = BytecodeCache([Place(Path(folder)) for folder in folders], (packs + os.sep,))
cache.begin()
if "NOTHING" in os.environ:  # As on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
spec = importlib.util.spec_from_file_location("pack", os.path.join(packs, pack, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
end = time.monotonic() + 10
def is_kept(path):
    kept = [Path(Place(Path(folder)).file(path)) for folder in folders]
    return any(file.is_file() and file.stat().st_mtime_ns >= began for file in kept)
if "NOTHING" in os.environ:
    time.sleep(0.3)
else:
    while not all(map(is_kept, compiled)) and time.monotonic() < end:
        time.sleep(0.01)
print(json.dumps([module.VALUE, sorted(os.path.relpath(path, packs) for path in compiled if path.startswith(packs))]))
"""
BOTH = ["pack/__init__.py", "pack/part.py"]


def start(packs: Path, *folders: Path, **environment: str) -> subprocess.Popen[str]:
    """Begin to load the pack ``pack`` of ``packs``."""
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, packs, "pack", *folders],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> list[Any]:
    """The pack's ``VALUE``, and the files that had to be compiled."""
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found: list[Any] = json.loads(told)
    return found


def load(packs: Path, *folders: Path, **environment: str) -> list[Any]:
    """Load the pack, as ``end`` says."""
    return end(start(packs, *folders, **environment))


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A folder with one pack of two modules, which is not compiled."""
    folder = tmp_path / "custom_nodes"
    (folder / "pack").mkdir(parents=True)
    (folder / "pack" / "__init__.py").write_text("from .part import VALUE\n")
    (folder / "pack" / "part.py").write_text("VALUE = 'first'\n")
    return folder


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_pack_is_compiled_once(packs: Path, tmp_path: Path) -> None:
    cache, sources = tmp_path / "cache", files(packs)
    assert load(packs, cache) == ["first", BOTH]
    assert load(packs, cache) == ["first", []]
    assert files(packs) == sources, "nothing is written beside the sources"
    assert cache.stat().st_mode & 0o077 == 0, "nobody else can put code into it"


def test_a_source_that_has_changed_is_compiled_anew(packs: Path, tmp_path: Path) -> None:
    cache, part = tmp_path / "cache", packs / "pack" / "part.py"
    load(packs, cache)
    part.write_text("VALUE = 'longer than before'\n")
    assert load(packs, cache) == ["longer than before", [BOTH[1]]]
    assert load(packs, cache) == ["longer than before", []]
    part.write_text("VALUE = 'longer than BEFORE'\n")
    os.utime(part, (1, 1))
    assert load(packs, cache) == ["longer than BEFORE", [BOTH[1]]]


def test_what_is_compiled_already_is_not_kept(packs: Path, tmp_path: Path) -> None:
    compileall.compile_dir(packs, quiet=2)
    assert load(packs, tmp_path / "cache") == ["first", []]
    (packs / "pack" / "part.py").write_text("VALUE = 'a newer one'\n")
    assert load(packs, tmp_path / "cache") == ["a newer one", [BOTH[1]]]
    assert len(files(tmp_path / "cache")) == 1


def test_damaged_files_are_passed_over_and_replaced(packs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load(packs, cache)
    kept = next(path for path in files(cache) if path.name.startswith("part"))
    whole = kept.read_bytes()
    flipped = bytearray(whole)
    flipped[-8] ^= 1
    other_python = bytes([whole[0] ^ 1]) + whole[1:]
    for damaged in (b"", whole[:10], whole[:-5], whole + b"x", bytes(flipped), other_python, b"\xff" * 500):
        kept.write_bytes(damaged)
        assert load(packs, cache) == ["first", [BOTH[1]]], damaged
        assert kept.read_bytes() != damaged
    assert load(packs, cache) == ["first", []]
    kept.unlink()
    kept.mkdir()
    assert load(packs, cache, NOTHING="can be written") == ["first", [BOTH[1]]]


def test_folders_that_cannot_be_used_fail_no_start(packs: Path, tmp_path: Path) -> None:
    blocked, others, cache = tmp_path / "blocked", tmp_path / "others", tmp_path / "cache"
    blocked.write_text("no folder")
    others.mkdir(mode=0o777)
    others.chmod(0o777)
    assert load(packs, blocked / "below", others, cache) == ["first", BOTH]
    assert files(others) == []
    assert load(packs, blocked / "below", others, cache) == ["first", []]
    cache.chmod(0o777)
    assert load(packs, cache, NOTHING="can be written") == ["first", BOTH], "anybody could have put this code there"


def test_a_full_disk_leaves_no_part_of_a_file(packs: Path, tmp_path: Path) -> None:
    assert load(packs, tmp_path / "cache", NOTHING="can be written") == ["first", BOTH]
    assert files(tmp_path / "cache") == []


def test_starts_at_the_same_time(packs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    running = [start(packs, cache) for _ in range(4)]
    assert [end(process)[0] for process in running] == ["first"] * 4
    assert load(packs, cache) == ["first", []]
    assert len(files(cache)) == 2


def test_loaders_of_a_packs_own_are_left_alone(packs: Path, tmp_path: Path) -> None:
    (packs / "pack" / "__init__.py").write_text(
        "import importlib.machinery, os\n"
        "class Loader(importlib.machinery.SourceFileLoader):\n"
        "    def source_to_code(self, data, path, **options):\n"
        "        return super().source_to_code(data.replace(b'first', b'other'), path, **options)\n"
        "path = os.path.join(os.path.dirname(__file__), 'part.py')\n"
        "VALUE = [{}, {}]\n"
        "exec(Loader('own', path).get_code('own'), VALUE[0])\n"
        "exec(importlib.machinery.SourceFileLoader('plain', path).get_code('plain'), VALUE[1])\n"
        "VALUE = [each['VALUE'] for each in VALUE]\n"
    )
    assert load(packs, tmp_path / "cache")[0] == ["other", "first"]
    assert load(packs, tmp_path / "cache", NOTHING="else is new") == [["other", "first"], [BOTH[1]]]


def test_code_of_sources_that_are_gone_is_removed(packs: Path, tmp_path: Path) -> None:
    cache, part = tmp_path / "cache", packs / "pack" / "part.py"
    load(packs, cache)
    (first := files(cache)[0]).with_name(f"{first.name}.0123abcd").write_bytes(b"an interrupted start")
    shutil.copytree(packs / "pack", tmp_path / "packs" / "pack")
    shutil.rmtree(packs)
    assert load(tmp_path / "packs", cache) == ["first", BOTH]
    assert all(str(tmp_path / "packs") in str(path) for path in files(cache))
    assert not (cache / str(part)[1:]).parent.exists()
    assert len(files(cache)) == 2


def test_the_oldest_goes_where_there_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "cache")
    for number in range(4):
        source = tmp_path / f"a.{number}.py"
        source.touch()
        file = Path(place.file(str(source)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 100)
        os.utime(file, (number, number))
    place.clean()
    assert len(files(tmp_path / "cache")) == 4
    monkeypatch.setattr(place_module, "_MOST_BYTES", 250)
    place.clean()
    assert [path.name[:3] for path in files(tmp_path / "cache")] == ["a.2", "a.3"]


@pytest.mark.parametrize("is_linked", [False, True])
def test_code_lies_on_the_volume_only_with_its_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_linked: bool
) -> None:
    volume, state = tmp_path / "volume", open_state(tmp_path / "state")
    home = tmp_path / "home" if is_linked else volume
    for folder in (volume / "code", home / ".cache" / "comfy-worker"):
        folder.mkdir(parents=True)
    if is_linked:
        (home / ".cache" / "comfy-worker" / "bytecode").symlink_to(volume / "code")
    monkeypatch.setenv("HOME", str(home))
    for packs, number in ((False, 1), (True, 3)):
        settings = Settings(network_volume_path=volume, volume_custom_nodes=packs, comfy_args=("--cpu",))
        found = list(places(plan_launch(settings, state)))
        assert len(found) == number
        assert any(each.folder.resolve().is_relative_to(volume) for each in found) == packs
    state.close()
    assert found[0].takes(f"{volume}/custom_nodes/pack/__init__.py")
    assert not found[0].takes("/comfyui/nodes.py"), "only what lies there itself"


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    state, python = open_state(tmp_path / "state"), SourceFileLoader.get_code
    settings = Settings(bytecode_cache="off", comfy_args=("--cpu",))
    keep_bytecode(settings, plan_launch(settings, state))
    state.close()
    assert SourceFileLoader.get_code is python


START = """
import importlib.machinery, json, os, sys, time
from pathlib import Path
import worker.embedded.start.cache_folders as cache_folders
from worker import Worker

home, volume = Path(os.environ["HOME"]), Path(os.environ["NETWORK_VOLUME_PATH"])
cache_folders.PROJECT = home
compiled = []
python = importlib.machinery.SourceFileLoader.source_to_code
def source_to_code(self, data, path, **options):
    compiled.append(str(path))
    return python(self, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = source_to_code
with Worker() as worker:
    nodes = sorted(worker.runtime.main.nodes.NODE_CLASS_MAPPINGS)
    importlib.import_module("comfy.sd1_clip").SDTokenizer  # It is deferred if anything is.
    failed = [pack.name for pack in worker.runtime.node_packs if pack.error]
    end = time.monotonic() + 20
    mine = [path for path in compiled if path.startswith(os.getcwd())]
    while not {Path(path).stem for path in mine} <= {
        path.name.split(".")[0] for folder in (home, volume) for path in folder.rglob("*.pyc")
    } and time.monotonic() < end:
        time.sleep(0.1)
print(json.dumps([[os.path.basename(path) for path in mine], nodes, failed]))
"""


def test_a_real_start(tmp_path: Path) -> None:
    """A tree and packs, a volume's among them, that are not compiled, with deferred imports and without."""
    tree, volume, home = tmp_path / "ComfyUI", tmp_path / "volume", tmp_path / "home"
    own = os.environ.get("COMFYUI_PATH")
    left_out = shutil.ignore_patterns("__pycache__", ".git", "*.safetensors")
    shutil.copytree(find_tree(Path(own) if own else None)[0], tree, ignore=left_out)
    for folder, name in ((volume / "custom_nodes", "FromTheVolume"), (tmp_path / "more", "FromMore")):
        (folder / "pack").mkdir(parents=True)
        (folder / "pack" / "__init__.py").write_text(f"NODE_CLASS_MAPPINGS = {{'{name}': object}}\n")
    (tree / "extra_model_paths.yaml").write_text(f"more:\n  custom_nodes: {tmp_path / 'more'}\n")
    environment = os.environ | {
        "HOME": str(home), "COMFYUI_PATH": str(tree), "COMFY_ARGS": "--cpu", "NETWORK_VOLUME_PATH": str(volume),
        "VOLUME_CUSTOM_NODES": "true", "COMFY_BASE_DIR": str(tree),
    }  # fmt: skip
    found = []
    for defer in ("off", "auto"):
        answer = subprocess.run(
            [sys.executable, "-c", START], env=environment | {"DEFER_IMPORTS": defer}, cwd=tmp_path,
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        found.append(json.loads(answer.stdout.splitlines()[-1]))
        for late in home.rglob("sd1_clip.*.pyc"):
            late.unlink()
    (first, nodes, failed), second = found
    assert len(first) > 100
    assert {"FromTheVolume", "FromMore"}.issubset(nodes)
    assert second == [["sd1_clip.py"], nodes, failed]
    assert list((volume / ".cache").rglob("__init__.*.pyc")), "workers share the code of a volume's packs there"
    assert not [path for path in (tree, tmp_path / "more", volume / "custom_nodes") if list(path.rglob("*.pyc"))]
