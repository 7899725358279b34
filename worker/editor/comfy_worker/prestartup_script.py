"""ComfyUI runs this file before it imports its nodes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))

from worker.editor.pack import before_packs

before_packs()
