"""``scripts/check_sizes.py``: what is as large as it may be, and one more."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_sizes import FOLDER_FILES, FUNCTION_LINES, MODULE_LINES, main


def function(lines: int) -> str:
    """A method of so many lines, from its ``def`` to its end."""
    return "class A:\n    @staticmethod\n    def long() -> None:\n" + "        print()\n" * (lines - 1)


@pytest.mark.parametrize("more", [0, 1])
def test_the_limits(more: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "worker" / "full").mkdir(parents=True)
    (tmp_path / "scripts" / "program").write_text("#!/usr/bin/env python3\n" + "pass\n" * (MODULE_LINES - 1 + more))
    (tmp_path / "scripts" / "shell").write_text("#!/usr/bin/env bash\n" + "true\n" * MODULE_LINES)
    (tmp_path / "worker" / "a.py").write_text(function(FUNCTION_LINES + more))
    for number in range(FOLDER_FILES + more):
        (tmp_path / "worker" / "full" / f"m{number}.py").touch()
    (tmp_path / "worker" / "full" / "__init__.py").touch()
    code = main([str(tmp_path)])
    told = capsys.readouterr().err.splitlines()
    if not more:
        assert (code, told) == (0, [])
        return
    assert code == 1
    assert told == [
        "check_sizes: worker/a.py:3: long has 41 lines; the limit is 40",
        "check_sizes: scripts/program has 251 lines; the limit is 250",
        "check_sizes: worker/full holds 13 Python files; the limit is 12",
    ]
