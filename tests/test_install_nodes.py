"""``scripts/install-nodes`` with real git repositories, a real Python environment, real pip and small wheels."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from comfy_registry import ComfyRegistry, make_zip
from comfy_server import free_port
from git_command import GIT
from node_packs.destination import NoDestination, find_destination
from node_packs.source import GitSource, NoSource, RegistrySource, Source, parse_source
from wheels import make_wheel

from worker.embedded.start.source import find_source

Answer = subprocess.CompletedProcess[str]
Install = Callable[..., Answer]

HERE = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
PIP = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', *{}], check={})\n"
REPORT = "import json, os\nnames = ('COMFYUI_PATH', 'PIP_CONSTRAINT')\n"
REPORT += "open('seen.json', 'w').write(json.dumps([os.getcwd(), *(os.environ[name] for name in names)]))\n"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that pip can find: two torches, and packages that need the one or the other."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.13.0", "2.14.1"):
        make_wheel(folder, "torch", version)
    for version in ("1.26.4", "2.4.6"):
        make_wheel(folder, "numpy", version)
    make_wheel(folder, "nvidia-cublas", "11.0")
    make_wheel(folder, "old-formers", "0.0.20", ["torch==1.13.0"])
    for name in ("tiny-one", "tiny-two", "tiny-three", "tiny-four"):
        make_wheel(folder, name, "1.0", ["torch>=2"])
    return folder


@pytest.fixture(scope="module")
def environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with a torch that has a local version, which no index has."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    builds = folder / "builds"
    builds.mkdir()
    torch = make_wheel(builds, "torch", "2.14.1+cu130", ["nvidia-cublas==13.1"])
    cublas, numpy = make_wheel(builds, "nvidia-cublas", "13.1"), wheels / "numpy-2.4.6-py3-none-any.whl"
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        torch,
        cublas,
        numpy,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


@pytest.fixture
def own_environment(environment: Path, tmp_path: Path) -> Path:
    """A copy, for tests that change what the others rely on."""
    return Path(shutil.copytree(environment, tmp_path / "venv", symlinks=True))


@pytest.fixture
def registry() -> Iterator[ComfyRegistry]:
    """An empty registry."""
    with ComfyRegistry() as found:
        yield found


@pytest.fixture
def custom_nodes(tmp_path: Path) -> Path:
    """The folder that gets the packs."""
    return tmp_path / "comfy" / "custom_nodes"


@pytest.fixture
def variables(wheels: Path, environment: Path, custom_nodes: Path, registry: ComfyRegistry) -> dict[str, str]:
    """The environment variables of ``install``."""
    custom_nodes.mkdir(parents=True)
    for name in ("main.py", "execution.py"):
        (custom_nodes.parent / name).write_text("")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COMFY"))}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1"}
    comfy = {"COMFYUI_PATH": str(custom_nodes.parent), "COMFY_REGISTRY_URL": registry.url}
    return kept | pip | comfy | HERE | {"VIRTUAL_ENV": str(environment)}


@pytest.fixture
def install(project: Path, variables: Mapping[str, str]) -> Install:
    """Runs ``scripts/install-nodes ARGUMENTS``."""

    def run(*arguments: str | Path, **more: str) -> Answer:
        command: list[str | Path] = [project / "scripts" / "install-nodes", *arguments]
        return subprocess.run(
            command, env={**variables, **more}, capture_output=True, text=True, check=False, timeout=100
        )

    return run


def commit(repository: Path, files: Mapping[str, str]) -> str:
    """Commit these files, in a repository that is made where it is missing; returns the commit."""
    repository.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (repository / name).write_text(text)
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "change"]):
        git(repository, *arguments)
    return git(repository, "rev-parse", "HEAD")


def git(repository: Path, *arguments: str) -> str:
    """Run git there; returns what it prints."""
    answer = subprocess.run(
        [*GIT, *arguments], cwd=repository, env=os.environ | HERE, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def pack(folder: Path, requirements: str = "", **files: str) -> tuple[str, str]:
    """A repository with a pack; returns its URL and its commit."""
    content = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"} | {f"{name}.py": text for name, text in files.items()}
    if requirements:
        content["requirements.txt"] = requirements
    return folder.as_uri(), commit(folder, content)


def versions(environment: Path) -> dict[str, str]:
    """What is installed there."""
    pip: list[str | Path] = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "list",
        "--format=freeze",
        "--disable-pip-version-check",
    ]
    lines = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.split()
    return dict(line.split("==") for line in lines)


def outcomes(answer: Answer) -> dict[str, str]:
    """The outcome of each pack, from the table."""
    table = answer.stdout.partition("\npack ")[2].partition("\n\n")[0].splitlines()[1:]
    return {row.split()[0]: re.split(r"\s{2,}", row)[-1] for row in table}


def test_a_repository_without_a_revision(
    install: Install, custom_nodes: Path, environment: Path, tmp_path: Path
) -> None:
    """Its default branch, with its requirements; the commit to pin is printed."""
    url, head = pack(tmp_path / "Pack.One", "# needed\ntiny-one\n--extra-index-url https://example.invalid/simple\n")
    answer = install(url)
    assert answer.returncode == 0, answer.stderr
    assert outcomes(answer) == {url: "installed"}
    assert f"write {url}@{head}" in answer.stdout
    assert "python -m worker check" in answer.stdout.splitlines()[-1]
    assert git(custom_nodes / "Pack.One", "rev-parse", "HEAD") == head
    assert [path.name for path in custom_nodes.iterdir()] == ["Pack.One"]
    found = versions(environment)
    assert (found["tiny-one"], found["torch"]) == ("1.0", "2.14.1+cu130")

    again = install(f"{url}@{head}")
    assert again.returncode == 0
    assert outcomes(again) == {f"{url}@{head}": "already installed"}


def test_each_kind_of_revision(install: Install, custom_nodes: Path, tmp_path: Path) -> None:
    """One after the other: each replaces what was there."""
    url, first = pack(tmp_path / "pack")
    git(tmp_path / "pack", "tag", "-a", "v1@stable", "-m", "first")
    git(tmp_path / "pack", "checkout", "-qb", "feature/x")
    second = commit(tmp_path / "pack", {"new.py": ""})
    git(tmp_path / "pack", "checkout", "-q", "main")
    third = commit(tmp_path / "pack", {"newer.py": ""})
    wanted = {
        f"{url}@{first}": ("installed", first),
        f"{url}@feature/x": ("replaced", second),
        f"git+{url}@v1@stable": ("replaced", first),
        f"{tmp_path / 'pack'}@{third[:8]}": ("replaced", third),
    }
    for source, (outcome, expected) in wanted.items():
        answer = install(source)
        assert answer.returncode == 0, answer.stderr
        assert [*outcomes(answer).values()] == [outcome]
        assert ("to get the same again" in answer.stdout) == (outcome == "replaced")
        assert git(custom_nodes / "pack", "rev-parse", "HEAD") == expected
        assert [path.name for path in custom_nodes.iterdir()] == ["pack"]
        assert not (custom_nodes / "pack" / "left").exists()
        (custom_nodes / "pack" / "left").touch()


def test_submodules_come_along(install: Install, custom_nodes: Path, tmp_path: Path) -> None:
    inner, _ = pack(tmp_path / "inner")
    middle, _ = pack(tmp_path / "middle")
    git(tmp_path / "middle", "submodule", "add", "-q", inner, "deep")
    git(tmp_path / "middle", "commit", "-qm", "with a submodule")
    url, _ = pack(tmp_path / "outer")
    git(tmp_path / "outer", "submodule", "add", "-q", middle, "sub")
    git(tmp_path / "outer", "commit", "-qm", "with a submodule")
    answer = install(url)
    assert answer.returncode == 0, answer.stderr
    assert (custom_nodes / "outer" / "sub" / "deep" / "__init__.py").is_file()


def test_names_of_the_registry(
    install: Install, registry: ComfyRegistry, custom_nodes: Path, environment: Path
) -> None:
    """The newest and a given version; requirements of ``pyproject.toml``; a name in the wrong case."""
    project = '[project]\nname = "tiny-pack"\nversion = "{}"\ndependencies = ["tiny-two"]\n'
    registry.archives["tiny-pack"] = {
        version: make_zip({"__init__.py": "", "lib/a.py": "", "pyproject.toml": project.format(version)})
        for version in ("1.0.0", "1.1.0")
    }
    answer = install("tiny-pack")
    assert answer.returncode == 0, answer.stderr
    assert "write tiny-pack@1.1.0" in answer.stdout
    assert versions(environment)["tiny-two"] == "1.0"
    assert (custom_nodes / "tiny-pack" / ".tracking").read_text().split() == [
        "__init__.py",
        "lib/a.py",
        "pyproject.toml",
    ]
    assert outcomes(install("tiny-pack@1.0.0")) == {"tiny-pack@1.0.0": "replaced"}
    assert 'version = "1.0.0"' in (custom_nodes / "tiny-pack" / "pyproject.toml").read_text()
    answer = install("Tiny-Pack@1.0.0")
    assert outcomes(answer) == {"Tiny-Pack@1.0.0": "already installed"}
    assert [path.name for path in custom_nodes.iterdir()] == ["tiny-pack"]


@pytest.mark.parametrize(
    ("requirements", "reason"),
    [
        ("tiny-three\ntorch==1.13.0", "it asks for torch==1.13.0, but torch 2.14.1+cu130 is installed here and stays"),
        (
            "old-formers",
            "old-formers 0.0.20 depends on torch==1.13.0, but torch 2.14.1+cu130 is installed here and stays",
        ),
        ("torch @ {wheels}/torch-2.14.1-py3-none-any.whl", "but torch 2.14.1+cu130 is installed here and stays"),
        ("nvidia_cublas<12", "it asks for nvidia_cublas<12, but nvidia-cublas 13.1 is installed here and stays"),
    ],
)
def test_a_pack_that_would_replace_torch_is_refused(
    install: Install,
    wheels: Path,
    environment: Path,
    custom_nodes: Path,
    tmp_path: Path,
    requirements: str,
    reason: str,
) -> None:
    """It leaves nothing behind: no folder, and none of its packages."""
    url, _ = pack(tmp_path / "pack", requirements.format(wheels=wheels.as_uri()))
    before = versions(environment)
    answer = install(url)
    assert answer.returncode == 1
    assert f"{url}: refused: " in answer.stderr
    assert reason in answer.stderr
    assert outcomes(answer) == {url: "refused"}
    assert list(custom_nodes.iterdir()) == []
    assert versions(environment) == before


def test_other_packages_may_be_replaced_and_are_told(install: Install, own_environment: Path, tmp_path: Path) -> None:
    url, _ = pack(tmp_path / "pack", "numpy<2")
    answer = install(url, VIRTUAL_ENV=str(own_environment))
    assert answer.returncode == 0, answer.stderr
    assert f"warning: {url} replaces a package: numpy 2.4.6 → 1.26.4" in answer.stdout
    assert versions(own_environment)["numpy"] == "1.26.4"


def test_install_scripts(install: Install, own_environment: Path, custom_nodes: Path, tmp_path: Path) -> None:
    """They run in the pack's folder under the constraints; one that gets round these fails its pack, and the next."""
    url, _ = pack(tmp_path / "good", "# none\n", install=REPORT)
    answer = install(url)
    assert answer.returncode == 0, answer.stderr
    folder, comfyui, constraints = re.findall(r'"(.*?)"', (custom_nodes / "good" / "seen.json").read_text())
    assert (folder, comfyui) == (str(custom_nodes / "good"), str(custom_nodes.parent))
    assert constraints.endswith("constraints.txt")
    assert not Path(constraints).exists()

    url, _ = pack(tmp_path / "naive", install=PIP.format(["install", "torch==1.13.0"], True))
    answer = install(url, VIRTUAL_ENV=str(own_environment))
    assert answer.returncode == 1
    assert f"{url}: failed: its install.py ended with exit code 1" in answer.stderr
    assert versions(own_environment)["torch"] == "2.14.1+cu130"
    assert not (custom_nodes / "naive").exists()
    assert install("--no-install-script", url, VIRTUAL_ENV=str(own_environment)).returncode == 0

    old = make_wheel(tmp_path, "torch", "1.13.0")
    url, _ = pack(tmp_path / "cheat", install=PIP.format(["--isolated", "install", "--no-index", str(old)], False))
    after, _ = pack(tmp_path / "after")
    answer = install(url, after, VIRTUAL_ENV=str(own_environment))
    assert answer.returncode == 1
    assert outcomes(answer) == {url: "failed", after: "failed"}
    assert answer.stderr.count("protected packages were replaced: torch 2.14.1+cu130 → 1.13.0. Restore them with") == 2
    assert "--no-deps --force-reinstall torch==2.14.1+cu130`" in answer.stderr


def test_failures_do_not_stop_the_others(
    install: Install, registry: ComfyRegistry, custom_nodes: Path, tmp_path: Path
) -> None:
    good, _ = pack(tmp_path / "good", "tiny-four\n")
    no_package, _ = pack(tmp_path / "no-package", "no-such-package\n")
    unreadable, _ = pack(tmp_path / "unreadable", "tiny-four ==== 1\n")
    no_build, _ = pack(tmp_path / "no-build", "./broken\n")
    (tmp_path / "no-build" / "broken").mkdir()
    (tmp_path / "no-build" / "broken" / "pyproject.toml").write_text('[build-system]\nrequires = ["no-backend"]\n')
    commit(tmp_path / "no-build", {})
    missing = (tmp_path / "missing").as_uri()
    registry.archives["tiny-pack"] = {"1.0": make_zip({"a.py": ""})}
    listed = tmp_path / "packs.txt"
    listed.write_text(f"# packs\n\n{no_package}  # needs what nobody has\n{good}@v9\n{unreadable}\n{no_build}\n")
    answer = install(missing, "nobody-knows", "tiny-pack@7", "--requirements", listed)
    assert answer.returncode == 1
    assert set(outcomes(answer).values()) == {"failed"}
    failures = dict(re.findall(r"^  (\S+): failed: (.*)$", answer.stderr, re.MULTILINE))
    assert f"git fetch of {missing} failed: fatal: " in failures[missing]
    for name in ("nobody-knows", "tiny-pack@7"):
        text = f"the registry has no pack {name}: look up its name and versions at https://registry.comfy.org"
        assert failures[name] == text
    assert failures[no_package].startswith(
        "pip: Could not find a version that satisfies the requirement no-such-package"
    )
    assert failures[f"{good}@v9"] == f"{good} has no revision v9"
    assert failures[unreadable].startswith("pip: Invalid requirement: 'tiny-four ==== 1'")
    assert failures[no_build].startswith("pip: ")
    assert "7 of 7 packs not installed" in answer.stderr
    assert list(custom_nodes.iterdir()) == []

    answer = install(missing, good, "nobody-knows")
    assert answer.returncode == 1
    assert outcomes(answer) == {missing: "failed", good: "installed", "nobody-knows": "failed"}
    assert [path.name for path in custom_nodes.iterdir()] == ["good"]


@pytest.mark.parametrize("path", ["", "/broken", "/page"])
def test_a_registry_that_does_not_answer(
    install: Install, registry: ComfyRegistry, custom_nodes: Path, path: str
) -> None:
    url = registry.url + path if path else f"http://127.0.0.1:{free_port()}"
    answer = install("tiny-pack", COMFY_REGISTRY_URL=url)
    assert answer.returncode == 1
    said = {
        "": "Connection refused",
        "/broken": "HTTP status 503",
        "/page": "does not answer as the Comfy Registry does",
    }
    assert said[path] in answer.stderr
    assert url in answer.stderr
    assert list(custom_nodes.iterdir()) == []


def test_hostile_archives(install: Install, registry: ComfyRegistry, custom_nodes: Path) -> None:
    hostile = {
        "climbs": (make_zip({"__init__.py": "", "../../climbed": ""}), "would write outside the pack's folder"),
        "absolute": (make_zip({str(custom_nodes / "climbed"): ""}), "would write outside the pack's folder"),
        "backslash": (make_zip({"..\\climbed": ""}), "would write outside the pack's folder"),
        "links": (make_zip({"a": "/etc", "a/b": ""}, link="a"), "holds a link: 'a'"),
        "empty": (make_zip({}), "is empty"),
        "no-zip": (b"PK\x03\x04 and no more", "is no sound ZIP archive"),
        "short": (make_zip({"a.py": "x" * 1000})[:200], "is no sound ZIP archive"),
        "both": (make_zip({"a": "", "a/b": ""}), "/a"),
    }
    registry.archives |= {name: {"1.0": archive} for name, (archive, _) in hostile.items()}
    before = sorted(custom_nodes.parent.rglob("*"))
    answer = install(*hostile)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    failures = dict(re.findall(r"^  (\S+): failed: (.*)$", answer.stderr, re.MULTILINE))
    for name, (_, reason) in hostile.items():
        assert reason in failures[name]
    assert sorted(custom_nodes.parent.rglob("*")) == before


def test_a_dry_run_changes_nothing(install: Install, environment: Path, custom_nodes: Path, tmp_path: Path) -> None:
    url, head = pack(tmp_path / "pack", "tiny-three\n", install="open('ran', 'w')")
    refused, _ = pack(tmp_path / "refused", "torch<2\n")
    before = versions(environment)
    answer = install("--dry-run", url, refused, "--into", tmp_path / "new")
    assert answer.returncode == 1
    assert outcomes(answer) == {url: "would be installed", refused: "refused"}
    assert f"{head[:12]}  tiny-three 1.0" in answer.stdout
    assert versions(environment) == before
    assert not (tmp_path / "new").exists()
    assert list(custom_nodes.iterdir()) == []


def test_what_a_person_has_changed_is_kept(install: Install, custom_nodes: Path, tmp_path: Path) -> None:
    url, _ = pack(tmp_path / "pack")
    assert install(url).returncode == 0
    (custom_nodes / "pack" / "__init__.py").write_text("# mine\n")
    commit(tmp_path / "pack", {"new.py": ""})
    answer = install(url)
    assert answer.returncode == 1
    assert "has changes that are not committed" in answer.stderr
    assert (custom_nodes / "pack" / "__init__.py").read_text() == "# mine\n"


def test_packs_are_compiled(install: Install, custom_nodes: Path, tmp_path: Path) -> None:
    """Also a pack with a broken file, a file named as one of Python's own, and compiled files in its repository."""
    repository, name = tmp_path / "pack", f"__init__.{sys.implementation.cache_tag}.pyc"
    (repository / "__pycache__").mkdir(parents=True)
    (repository / "__pycache__" / name).write_bytes(b"stale")
    url, _ = pack(repository, types="raise SystemExit(1)\n", broken="def (:\n", escapes=r"'\d'")
    answer = install(url)
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert (custom_nodes / "pack" / "__pycache__" / name).read_bytes() != b"stale"
    assert len(list((custom_nodes / "pack" / "__pycache__").glob("*.pyc"))) == 3
    commit(repository, {"new.py": ""})
    assert outcomes(install(url)) == {url: "replaced"}, "compiled files are no changes of a person's"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_all_as_it_was(
    install: Install, project: Path, variables: Mapping[str, str], custom_nodes: Path, tmp_path: Path, number: int
) -> None:
    url, first = pack(tmp_path / "pack")
    assert install(url).returncode == 0
    slow = "import pathlib, time\npathlib.Path('../../running').touch()\ntime.sleep(60)\n"
    pack(tmp_path / "pack", install=slow)
    command: list[str | Path] = [project / "scripts" / "install-nodes", url]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (custom_nodes.parent / "running").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("install-nodes: interrupted")
    assert [path.name for path in custom_nodes.iterdir()] == ["pack"]
    assert git(custom_nodes / "pack", "rev-parse", "HEAD") == first


def test_wrong_use(install: Install, tmp_path: Path) -> None:
    """Exit code 2 and one line; ``--help`` teaches."""
    (tmp_path / "empty.txt").write_text("# none\n")
    cases: dict[tuple[str | Path, ...], str] = {
        (): "no pack is named",
        ("--requirements", tmp_path / "empty.txt"): "no pack is named",
        ("--requirements", tmp_path / "none.txt"): "No such file or directory",
        ("one-pack", "One-Pack@2"): "would lie in one folder",
        ("kijai/ComfyUI-KJNodes",): "write https://github.com/kijai/ComfyUI-KJNodes",
    }
    for arguments, text in cases.items():
        answer = install(*arguments)
        assert answer.returncode == 2
        assert text in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    answer = install("one-pack", COMFYUI_PATH=str(tmp_path))
    assert answer.returncode == 2
    assert "is no ComfyUI" in answer.stderr
    shown = install("--help")
    assert shown.returncode == 0
    assert "install-nodes comfyui-kjnodes comfyui-ic-light" in shown.stdout


def test_the_command_works_through_a_link(
    install: Install, project: Path, variables: Mapping[str, str], custom_nodes: Path, tmp_path: Path
) -> None:
    """As the image has it: under another name, with Python on the path alone, and nothing but what is copied."""
    copies = re.findall(r"^COPY (.*) /opt/comfy-worker(\S*)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    for sources, target in copies:
        for source in sources.replace("${ENVIRONMENT}", "").split():  # A file of whoever builds the image; here none.
            into = tmp_path / "opt" / target.strip("/")
            if (project / source).is_dir():
                shutil.copytree(project / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(project / source, into)
    scripts = tmp_path / "opt" / "scripts"
    (tmp_path / "comfy-node-install").symlink_to(scripts / "install-nodes")
    url, _ = pack(tmp_path / "pack", "tiny-one\n")
    plain = {name: value for name, value in variables.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    plain["PATH"] = f"{variables['VIRTUAL_ENV']}/bin:/usr/bin:/bin"
    command: list[str | Path] = [tmp_path / "comfy-node-install", url]
    answer = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert (custom_nodes / "pack" / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("text", "source", "folder"),
    [
        ("comfyui-kjnodes", RegistrySource("comfyui-kjnodes", None), "comfyui-kjnodes"),
        ("comfyui_essentials@1.2.3-rc.1", RegistrySource("comfyui_essentials", "1.2.3-rc.1"), "comfyui_essentials"),
        ("pack@latest", RegistrySource("pack", None), "pack"),
        ("https://host/o/Repo.git@v1", GitSource("https://host/o/Repo.git", "v1"), "Repo"),
        ("https://me:key@host/o/repo/", GitSource("https://me:key@host/o/repo/", None), "repo"),
        ("ssh://git@host:22/o/repo@a/b", GitSource("ssh://git@host:22/o/repo", "a/b"), "repo"),
        ("git@host:o/repo.git", GitSource("git@host:o/repo.git", None), "repo"),
        ("git@host:repo@4ee72c0", GitSource("git@host:repo", "4ee72c0"), "repo"),
        ("git+https://host/o/repo@pkg@1", GitSource("https://host/o/repo", "pkg@1"), "repo"),
    ],
)
def test_what_a_name_means(text: str, source: Source, folder: str) -> None:
    assert parse_source(text) == source
    assert source.folder == folder
    assert "key" not in str(source)
    assert str(source).startswith("ssh://git@") == text.startswith("ssh://")


@pytest.mark.parametrize(
    "text",
    [
        "", "-x", "a b", "owner/repo", "../..", "ext::sh -c true", "https://host", "https://host/..", "https://host/o/.git",
        "https://host/o/repo@", "https://host/o/repo@--upload-pack=x", "https://host/o/repo@a b",
        "https://github.com/o/repo/tree/main", "name@", "name@1@2", "git@host:",
    ],
)  # fmt: skip
def test_what_names_no_pack(text: str) -> None:
    with pytest.raises(NoSource):
        parse_source(text)


def test_packs_go_where_the_worker_looks(tmp_path: Path) -> None:
    tree, base = tmp_path / "tree", tmp_path / "base"
    for folder in (tree, base):
        folder.mkdir()
    for name in ("main.py", "execution.py"):
        (tree / name).write_text("")
    for path, chosen in ((None, None), (tree, None), (None, base), (tree, base)):
        named = {"COMFYUI_PATH": path, "COMFY_BASE_DIR": chosen}
        found = find_destination(None, {name: str(value) for name, value in named.items() if value})
        source = find_source(path, chosen)
        assert (found.custom_nodes, found.comfyui) == (source.base / "custom_nodes", source.path)
    with pytest.raises(NoDestination, match="is no folder"):
        find_destination(None, {"COMFY_BASE_DIR": str(tmp_path / "none")})
    assert find_destination(tmp_path / "into", {}).custom_nodes == tmp_path / "into"
