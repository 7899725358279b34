"""``NETWORK_VOLUME_DEBUG``: tells in the log what became of models, at the start and when a job misses one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.models import Catalog, near_misses, places_for, workflow_models
from worker.network_volume import describe_volume

_log = logging.getLogger("worker.models")


def log_volume(volume: Path, catalog: Catalog) -> None:
    """Log the diagnosis of the network volume, a line each."""
    for line in describe_volume(volume, catalog):
        _log.info("%s", line)


def log_missing_models(workflow: Mapping[str, Any], volume: Path, catalog: Catalog) -> None:
    """Log each model file that ``workflow`` names and that is not there, what may have been meant, and the volume."""
    missing = [reference for reference in workflow_models(workflow, catalog) if reference.path is None]
    for reference in missing:
        _log.warning(
            "Node %s (%s) %s: %r is not there; it belongs into %s",
            *(reference.node_id, reference.class_type, reference.input_name, reference.name),
            " or ".join(map(str, places_for(reference, catalog))) or "a folder that only the node knows",
        )
        for line in near_misses(reference, catalog, volume):
            _log.warning("  %s", line)
    if missing:
        log_volume(volume, catalog)
