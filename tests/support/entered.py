"""Which node classes really ran: ComfyUI entered the function of the class, and not only its validation."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import pytest


class Entered:
    """Notes in ``names`` each class of ``mappings`` whose own code runs."""

    def __init__(self, mappings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self._names = {node_class: name for name, node_class in mappings.items()}
        execution = sys.modules["execution"]
        get_output_data = execution.get_output_data

        async def noted(prompt_id: Any, unique_id: Any, node: Any, *args: Any, **kwargs: Any) -> Any:
            node_class = type(node)
            try:
                result = await get_output_data(prompt_id, unique_id, node, *args, **kwargs)
            except BaseException as error:
                if _passed(error.__traceback__, inspect.getfile(node_class)):
                    self._note(node_class)
                raise
            self._note(node_class)
            return result

        monkeypatch.setattr(execution, "get_output_data", noted)

    def _note(self, node_class: type) -> None:
        self.names |= {self._names[each] for each in node_class.__mro__[:2] if each in self._names}


def _passed(traceback: TracebackType | None, file: str) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            return True
        traceback = traceback.tb_next
    return False
