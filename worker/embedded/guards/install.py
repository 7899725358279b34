"""Installs the guards that need ComfyUI to be loaded."""

from __future__ import annotations

import importlib
from typing import Any

from worker.embedded.deferred.switch import LateImports
from worker.embedded.guards.admission import Admission, guard_admission
from worker.embedded.guards.arrivals import guard_arrivals
from worker.embedded.guards.chains import guard_chains
from worker.embedded.guards.interpreters import guard_prompt_reader
from worker.embedded.guards.paths import guard_dataset_nodes
from worker.embedded.guards.prompts import guard_prompt_weights
from worker.embedded.node_classes import is_core


def guard_execution(main: Any, late: LateImports) -> Admission:
    """Guard what ``main``, ComfyUI's module, does with graphs. Call it once its nodes and packs are loaded.

    Args:
        main: ComfyUI's module.
        late: tells of what is imported later, which is guarded as well.

    Returns:
        What decides which node classes may run. Every class may, until it is told otherwise.
    """
    admission = Admission()
    caching = importlib.import_module("comfy_execution.caching")
    guard_arrivals(main.execution, is_core)
    guard_admission(main.execution, admission)
    late.when_loaded("comfy.*", guard_prompt_reader)
    late.when_loaded("comfy.sd1_clip", guard_prompt_weights)
    guard_chains(main.execution, caching, main.comfy.model_management.throw_exception_if_processing_interrupted)
    late.when_classes(main.nodes, guard_dataset_nodes)
    return admission
