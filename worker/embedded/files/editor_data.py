"""What a job says about the editor's graph."""

from __future__ import annotations

from typing import Any


class EditorData(dict[str, Any]):
    """``extra_pnginfo`` of a job, which may lack the editor's graph.

    Some packs expect a dict here, and some read its ``workflow`` without a check. These get an empty editor graph. For
    packs that only pass the dict on, and in the metadata of files, the dict holds what the caller sent.
    """

    def __missing__(self, key: str) -> dict[str, Any]:
        if key != "workflow":
            raise KeyError(key)
        return {"nodes": [], "links": [], "groups": [], "config": {}, "extra": {}}
