"""The node pack of ``worker.editor.pack``, as ComfyUI imports it. It has no nodes."""

from __future__ import annotations

from typing import Any

from worker.editor.pack import after_packs

NODE_CLASS_MAPPINGS: dict[str, Any] = {}
after_packs()
