"""The generated pages are those of the code, and what they say holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from configuration_page import read_toml

from worker.settings import Settings, load_settings

# What the documents of the known worker have.
KNOWN = {
    *("REFRESH_WORKER", "SERVE_API_LOCALLY", "COMFY_ORG_API_KEY", "COMFY_LOG_LEVEL", "WEBSOCKET_TRACE"),
    "NETWORK_VOLUME_DEBUG",
    *("WEBSOCKET_RECONNECT_ATTEMPTS", "WEBSOCKET_RECONNECT_DELAY_S"),
    *("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY"),
}


def make_docs(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``make_docs.py ARGUMENTS`` of the tree ``project``."""
    return subprocess.run(
        [sys.executable, project / "scripts" / "make_docs.py", *arguments],
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(project: Path, tmp_path: Path) -> Path:
    """A copy of what the pages are made of, and of the pages."""
    ignored = shutil.ignore_patterns("__pycache__", "performance", "*.jpg")
    for name in ("docs", "scripts", "worker"):
        shutil.copytree(project / name, tmp_path / name, ignore=ignored)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    """Replace ``old``, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_no_page_is_stale(project: Path) -> None:
    ran = make_docs(project, "--check")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_changed_default_makes_both_pages_stale(tree: Path) -> None:
    edit(tree / "worker" / "settings" / "bucket.py", '604_800,\n        "a whole', '3_600,\n        "a whole')
    before = (tree / "docs" / "configuration.md").read_text()
    ran = make_docs(tree, "--check")
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "make_docs: docs/configuration.md is stale: run scripts/make_docs",
        "make_docs: docs/id/configuration.md is stale: run scripts/make_docs",
    ]
    assert (tree / "docs" / "configuration.md").read_text() == before, "a check writes nothing"
    assert make_docs(tree).returncode == 0
    assert make_docs(tree, "--check").returncode == 0
    assert "`3600` | `3600` |" in (tree / "docs" / "id" / "configuration.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        (
            "worker/settings/bucket.py",
            "Files go below this folder.",
            "Files go into this folder.",
            "configuration.id.toml: BUCKET_PREFIX was translated from another text; translate this one: "
            "'Files go into this folder.'",
        ),
        (
            "worker/settings/bucket.py",
            "bucket_prefix:",
            "bucket_folder:",
            "configuration.toml: BUCKET_FOLDER is in no group",
        ),
        (
            "worker/settings/bucket.py",
            "bucket_prefix:",
            "bucket_folder:",
            "configuration.toml: BUCKET_PREFIX is no setting",
        ),
        (
            "worker/settings/bucket.py",
            '"a region\'s name"',
            '"the name of a region"',
            "configuration.id.toml: [takes] 'the name of a region' is not translated",
        ),
        (
            "docs/source/configuration.md",
            "Needed beforehand:",
            "Needed:",
            "configuration.md has changed: bring configuration.id.md up to date, then set page = '",
        ),
        ("docs/source/configuration.id.md", "{{bucket}}", "", "configuration.id.md has no place for {{bucket}}"),
        ("docs/source/configuration.id.md", "{{bucket}}", "{{ember}}", "there is nothing called {{ember}}"),
        ("docs/source/configuration.id.toml", "[BUCKET_PREFIX]", "[OTHER]", "BUCKET_PREFIX is not translated: 'Files"),
        ("docs/source/configuration.id.toml", "[BUCKET_PREFIX]", "[OTHER]", "OTHER is no setting"),
    ],
)
def test_what_is_missing_is_named(tree: Path, file: str, old: str, new: str, problem: str) -> None:
    edit(tree / file, old, new)
    ran = make_docs(tree, "--check")
    assert ran.returncode == 1
    assert problem in ran.stderr
    assert "Traceback" not in ran.stderr


def test_every_example_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    examples = {name: text for group in read_toml("configuration.toml").values() for name, text in group.items()}
    assert len(examples) > 30
    for name, text in examples.items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    for name in examples:
        assert getattr(settings, name.lower()) != Settings.model_fields[name.lower()].default, name


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/id/configuration.md"])
def test_the_known_variables_are_documented(project: Path, page: str) -> None:
    text = (project / page).read_text()
    documented = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert set(documented) == {name.upper() for name in Settings.model_fields}
    assert len(documented) == len(set(documented))
    assert set(documented) >= KNOWN


def test_both_languages_have_the_same_shape(project: Path) -> None:
    shapes = []
    for page in ("docs/configuration.md", "docs/id/configuration.md"):
        text = (project / page).read_text()
        names = re.findall(r"^\| (`[A-Z_]+`) \|", text, re.MULTILINE)
        examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
        shapes.append((names, len(re.findall("^#", text, re.MULTILINE)), text.count("\n- "), examples))
    assert shapes[0] == shapes[1]


def test_the_readme_has_the_same_defaults(project: Path) -> None:
    shown = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", (project / "README.md").read_text(), re.MULTILINE))
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| .* \| (`[^`]*`) \| `[^`]*` \|$",
        (project / "docs" / "configuration.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 20
    assert len(shown) > 8
    assert {name: default for name, default in rows if name in shown} == {
        name: shown[name] for name, _ in rows if name in shown
    }


def anchors(text: str) -> set[str]:
    """The names of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tracked(project: Path) -> list[Path]:
    """The files of the repository."""
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.split("\0")
    return [project / name for name in names if name and (project / name).is_file()]


def pages(project: Path) -> list[Path]:
    """Every page. The texts in docs/source/ are looked at in the pages that are made of them."""
    found = [path for path in tracked(project) if path.suffix == ".md" and path.parent.name != "source"]
    assert len(found) > 15
    return found


def test_every_link_leads_somewhere(project: Path) -> None:
    for page in pages(project):
        links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
        for target, anchor in links:
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(path.read_text()), f"{page.name}: {target}#{anchor}"


def test_every_file_that_a_page_names_is_there(project: Path) -> None:
    """Also in code and commands, which have no links."""
    missing = [
        f"{page.relative_to(project)}: {name}"
        for page in pages(project)
        for name in re.findall(r"(?<![\w./-])(?:docs|examples|scripts|tests|worker)/[\w./-]*[\w/]", page.read_text())
        if not (project / name).exists()
    ]
    assert missing == []


def test_every_page_that_is_named_anywhere_is_there(project: Path) -> None:
    """In help texts, errors and comments, with the heading that may follow its name."""
    named = [
        (path.relative_to(project), name, anchor)
        for path in tracked(project)
        if path.suffix in ("", ".hcl", ".md", ".mjs", ".py", ".sh", ".toml", ".yml")
        for name, anchor in re.findall(r"(?<![\w./-])(docs/[\w/.-]+\.md)(?:#([\w-]+))?", path.read_text())
    ]
    assert len(named) > 50
    for path, name, anchor in named:
        assert (project / name).exists(), f"{path}: {name}"
        assert not anchor or anchor in anchors((project / name).read_text()), f"{path}: {name}#{anchor}"


def test_the_architecture_names_each_room_once(project: Path) -> None:
    """Every folder and top module of the worker; none twice, so that each thing has one place to look."""
    page = (project / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`(worker/[\w/]+(?:/|\.py))`", page)
    worker = project / "worker"
    folders = {f"worker/{path.name}/" for path in worker.iterdir() if (path / "__init__.py").is_file()}
    modules = {f"worker/{path.name}" for path in worker.glob("*.py") if path.name != "__init__.py"}
    tops = [name for name in named if name.removesuffix("/").count("/") == 1]
    assert sorted(folders | modules) == sorted(tops)
    assert len(named) == len(set(named))
