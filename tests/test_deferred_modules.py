"""A deferred module is one object, filled once by the first use, and then as if it had been imported at once."""

from __future__ import annotations

import importlib
import pickle
import random
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from worker.embedded.deferred.modules.core_names import CoreNames
from worker.embedded.deferred.modules.finder import DeferringFinder
from worker.embedded.deferred.modules.module import DeferredModule
from worker.embedded.deferred.modules.torch_state import usual_torch_state

Write = Callable[[Mapping[str, str]], None]


@pytest.fixture
def runs() -> Iterator[list[str]]:
    """The names of the modules that ran, in order: each of the test's modules appends its own."""
    sys.runs = []  # type: ignore[attr-defined]
    yield sys.runs  # type: ignore[attr-defined]
    del sys.runs  # type: ignore[attr-defined]


@pytest.fixture
def write(tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules, whose paths are the names of the mapping."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("import sys\nsys.runs.append(__name__)\n" + textwrap.dedent(text))
        importlib.invalidate_caches()

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pkg", "single")]:
        del sys.modules[name]


@pytest.fixture
def defer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DeferringFinder]:
    """Defers modules until the test ends."""

    def defer(*names: str, **options: Any) -> DeferringFinder:
        finder = DeferringFinder(names, **options)
        monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
        return finder

    return defer


Defer = Callable[..., DeferringFinder]
PACKAGE = {
    "pkg/__init__.py": "from . import a, b\nfrom .b import make\n",
    "pkg/a.py": "value = 1\nfrom pkg.b import make\n",
    "pkg/b.py": "from pkg.a import value\ndef make(): return value\n",
}


def test_one_object_is_empty_and_then_filled(write: Write, defer: Defer, runs: list[str]) -> None:
    write({"single.py": "class Thing: pass\nvalue = 1\n"})
    defer("single")
    early = importlib.import_module("single")
    assert runs == []
    assert isinstance(early, ModuleType)
    assert early.__name__ == "single"
    assert early.__spec__ is not None
    assert type(early.__spec__.loader).__name__ == "SourceFileLoader"
    assert runs == [], "its name and its spec are there without its code"
    assert early.value == 1
    assert importlib.import_module("single") is early is sys.modules["single"]
    assert type(early) is ModuleType
    assert runs == ["single"]


def test_submodules_stay_deferred_until_one_is_used(write: Write, defer: Defer, runs: list[str]) -> None:
    write(PACKAGE)
    defer("pkg")
    namespace: dict[str, Any] = {}
    exec("import pkg.b\nimport pkg.a", namespace)  # noqa: S102
    early = sys.modules["pkg.b"]
    assert runs == []
    assert namespace["pkg"].a.value == 1
    # As Python would have run them, though ``pkg.b`` was named first: in another order the two cannot be imported.
    assert runs == ["pkg", "pkg.a", "pkg.b"]
    assert namespace["pkg"].b is early
    assert early.make() == 1


def test_a_name_of_the_package_is_the_package_s_own(write: Write, defer: Defer) -> None:
    """A function may have the name of the module that it comes from."""
    write({"pkg/__init__.py": "from .canny import canny\n", "pkg/canny.py": "def canny(): return 'edges'\n"})
    defer("pkg")
    namespace: dict[str, Any] = {}
    exec("import pkg.canny\nfrom pkg import canny", namespace)  # noqa: S102
    assert namespace["canny"]() == "edges"
    assert namespace["pkg"].canny is namespace["canny"]


def test_named_submodules_come_from_their_package_and_stay_deferred(
    write: Write, defer: Defer, runs: list[str]
) -> None:
    write(PACKAGE)
    defer("pkg", submodules=["pkg.a"])
    namespace: dict[str, Any] = {}
    exec("from pkg import a\nimport pkg.a as renamed", namespace)  # noqa: S102
    assert runs == []
    assert namespace["a"].value == 1


def test_a_class_resolves_at_once_and_pickles(write: Write, defer: Defer) -> None:
    write({"single.py": "class Thing:\n    def __init__(self): self.size = 3\n"})
    defer("single")
    thing_class = importlib.import_module("single").Thing
    pickled = pickle.dumps(thing_class())
    del sys.modules["single"]
    importlib.import_module("single")
    assert type(sys.modules["single"]) is DeferredModule
    assert pickle.loads(pickled).size == 3  # noqa: S301


def test_reload_runs_it_again(write: Write, defer: Defer, runs: list[str]) -> None:
    write({"single.py": "value = object()\n"})
    defer("single")
    module = importlib.import_module("single")
    assert importlib.reload(module) is module
    first = module.value
    assert importlib.reload(module).value is not first
    assert runs == ["single"] * 3


def test_what_is_set_early_stays(write: Write, defer: Defer) -> None:
    write({"single.py": "value = 1\nother = 2\n"})
    defer("single")
    module: Any = importlib.import_module("single")
    module.value = "patched"
    assert (module.value, module.other) == ("patched", 2)
    del module.other
    assert not hasattr(module, "other")
    assert "value" in dir(module)
    assert vars(module)["value"] == "patched"


def test_threads_that_race_run_it_once(write: Write, defer: Defer, runs: list[str]) -> None:
    write(PACKAGE | {"pkg/a.py": "import time\ntime.sleep(0.2)\nvalue = 1\nfrom pkg.b import make\n"})
    defer("pkg")
    module = importlib.import_module("pkg.b")
    gate, seen = threading.Barrier(8), list[Any]()

    def use(number: int) -> None:
        gate.wait()
        seen.append(module.make() if number % 2 else importlib.import_module("pkg").make())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [1] * 8
    assert runs == ["pkg", "pkg.a", "pkg.b"]


def test_two_threads_in_opposite_directions_do_not_wait_for_each_other(write: Write, defer: Defer) -> None:
    write({
        "single.py": "import time\ntime.sleep(0.2)\nimport pkg.eager\nvalue = 1\n",
        "pkg/__init__.py": "",
        "pkg/eager.py": "import time\ntime.sleep(0.3)\nimport single\nseen = getattr(single, 'value', None)\n",
    })  # fmt: skip
    defer("single")
    module: Any = importlib.import_module("single")
    one = threading.Thread(target=lambda: module.value, daemon=True)
    two = threading.Thread(target=lambda: importlib.import_module("pkg.eager"), daemon=True)
    two.start()
    one.start()
    one.join(30)
    two.join(30)
    assert not one.is_alive()
    assert not two.is_alive()
    assert module.value == 1


def test_a_failed_import_is_tried_again(write: Write, defer: Defer, tmp_path: Path, runs: list[str]) -> None:
    write({"pkg/__init__.py": "from . import a\nfrom . import b\n", "pkg/a.py": "value = 1\n", "pkg/b.py": "1 / 0\n"})
    defer("pkg")
    module: Any = importlib.import_module("pkg")
    with pytest.raises(ZeroDivisionError):
        _ = module.b
    assert sys.modules["pkg"] is module
    assert type(module) is DeferredModule
    (tmp_path / "pkg" / "b.py").write_text("value = 2  # mended\n")
    importlib.invalidate_caches()
    assert module.b.value == 2
    assert module.a.value == 1
    assert runs.count("pkg") == 2


def test_listeners_hear_of_a_module_before_anyone_uses_it(write: Write, defer: Defer) -> None:
    write(PACKAGE)
    finder = defer("pkg")
    empty = importlib.import_module("pkg.a")
    finder.when_loaded("pkg.*", lambda module: vars(module).update(value=7))
    assert type(empty) is DeferredModule, "listening fills nothing"
    assert importlib.import_module("pkg").make() == 7


def test_nothing_is_deferred_any_more_once_the_start_is_over(write: Write, defer: Defer, runs: list[str]) -> None:
    write(PACKAGE | {"single.py": ""})
    finder = defer("pkg", "single")
    importlib.import_module("pkg")
    finder.defer_no_more()
    assert runs == []
    importlib.import_module("single")
    assert runs == ["single"]
    importlib.import_module("pkg.a")
    assert runs == ["single", "pkg", "pkg.a", "pkg.b"]


def test_what_is_not_there_is_an_error_as_ever(write: Write, defer: Defer) -> None:
    write(PACKAGE)
    defer("pkg", "no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        importlib.import_module("no_such_module")
    with pytest.raises(ModuleNotFoundError, match=r"pkg\.missing"):
        importlib.import_module("pkg.missing")
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        _ = importlib.import_module("pkg").missing


def test_late_code_finds_torch_as_at_the_start() -> None:
    torch: Any = pytest.importorskip("torch")
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3).tolist(), random.random()
    torch.manual_seed(5)
    random.seed(5)
    with torch.inference_mode(), torch.device("meta"):
        torch.set_default_dtype(torch.float16)
        with usual_torch_state():
            made = torch.rand(2)
            random.random()
        assert torch.get_default_dtype() is torch.float16
        torch.set_default_dtype(torch.float32)
    assert not made.is_inference()
    assert (made.device.type, made.dtype) == ("cpu", torch.float32)
    assert (torch.rand(3).tolist(), random.random()) == expected


def test_late_code_binds_what_was_there_at_the_start() -> None:
    """A pack that replaces a function does not reach modules that would have been imported before it."""
    module: Any = ModuleType("comfy.made_up")
    original = module.attend = lambda: "original"
    module.flag = False
    names = CoreNames()
    names.note(module)
    replaced = module.attend = lambda: "replaced"
    module.flag = True
    with names.as_at_the_start():
        assert module.attend is original
        assert module.flag is True, "a state is no function, and stays"
    assert module.attend is replaced
