"""``scripts/image/program_files.py``: what it lists of a start, and that reading brings this into the page cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from image import cold_disk
from image.program_files import main, read

from worker.models.readahead.page_cache import missing_pieces

PROGRAM = Path(__file__).resolve().parents[1] / "scripts" / "image" / "program_files.py"


def drop(path: Path) -> None:
    """Drop the pages of a file from the page cache, where its file system can do without."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether the page cache has the whole file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not missing_pieces(descriptor, path.stat().st_size)
    finally:
        os.close(descriptor)


def test_it_reads_what_is_listed(tmp_path: Path) -> None:
    small, large = tmp_path / "small.pyc", tmp_path / "large.so"
    small.write_bytes(b"x" * 100)
    large.write_bytes(b"y" * (9 << 20))
    for path in (small, large):
        drop(path)
    gone = str(tmp_path / "gone.pyc")
    read([(gone, 0, 100), (str(small), 0, 100), (str(large), 0, 9 << 20), (str(small), 0, 5000)])
    assert is_there(small)
    assert is_there(large)


def test_it_lists_what_a_start_needs(base_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    variables = os.environ | {"COMFY_BASE_DIR": str(base_dir), "COMFY_ARGS": "--cpu"}
    done = subprocess.run(
        [sys.executable, PROGRAM, "list", file], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(file.read_text())
    names = [Path(path).name for path, _, _ in parts]
    assert len({name for name in names if ".pyc" in name or name.endswith(".py")}) > 500
    assert any(name.startswith("execution.") for name in names), "ComfyUI's own"
    library = [(offset, length) for path, offset, length in parts if Path(path).name == "libtorch_cpu.so"]
    assert library, "a library that is no module"
    assert sum(length for _, length in library) > 10e6
    for path, offset, length in parts:
        assert 0 <= offset <= max(0, Path(path).stat().st_size - 1), path
        assert length > 0 or not Path(path).stat().st_size, path
    assert len(parts) == len({(path, offset) for path, offset, _ in parts}), "nothing comes twice"
    reading = (sys.executable, "-I", "-S", PROGRAM, "read", file)
    assert subprocess.run(reading, capture_output=True, text=True, check=False).stderr == ""


def test_without_a_list_it_ends(tmp_path: Path) -> None:
    assert main(["read", str(tmp_path / "none.json")]) == 1
    assert main([]) == 2


def test_the_measurement_says_why_it_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cold_disk, "_DROP", tmp_path / "drop_caches")
    assert cold_disk.main(["--pairs", "1"]) == 3
    assert "run this as root" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cold_disk.main(["--pairs", "0"])


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may drop the page cache")
def test_a_pair_of_cold_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cold_disk.main(["--pairs", "1"]) == 0
    assert "read ahead ÷ without: " in capsys.readouterr().out
