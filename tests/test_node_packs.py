"""Packs of others, on a stock server and on the worker: all that lie in ``NODE_PACKS_DIR`` (docs/development.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from compare.observed import LATE
from script_process import run_script

FOLDER = os.environ.get("NODE_PACKS_DIR")
PACKS = sorted(path.parent for path in Path(FOLDER).glob("*/__init__.py")) if FOLDER else []
# Asks ComfyUI's own port, which the worker does not have.
DIFFERENT = {("comfy_mtb", "Get Batch From History _mtb_")}


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not PACKS, reason="NODE_PACKS_DIR names no folder with node packs")
@pytest.mark.parametrize("pack", PACKS or [None], ids=lambda pack: pack.name if pack else "none")
def test_each_node_of_a_pack(pack: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    # The first choice where nodes offer the folders of input/. On a server, some of ComfyUI's nodes leave a 3d/ there.
    (tmp_path / "input" / "0").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / tiny_checkpoint.name).symlink_to(tiny_checkpoint)
    own = pack.parent / "workflows" / pack.name
    done = run_script(
        "compare_packs", pack, *([own] if own.is_dir() else []),
        "--each-node", "--timeout", "60", "--json", tmp_path / "found.json",
        COMFY_BASE_DIR=str(tmp_path), HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    # Nodes that wait for a person wait for ever on a server. The worker ends their job.
    endless = {name for name, run in found["workflows"].items() if run["server"]["outcome"] == LATE}
    known = endless | {where for name, where in DIFFERENT if name == pack.name}
    apart = [one for one in found["differences"] if not one["varies"] and one["where"] not in known]
    assert not apart, done.stdout
    assert found["workflows"] or found["packs"][pack.name]["server"]["error"]
