"""Logs which models are there and which are missing, at the start and when a job fails: ``NETWORK_VOLUME_DEBUG``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.logs import one_line
from worker.models.references import Catalog, files_by_stem, near_misses, places_for, workflow_models
from worker.models.volume import describe_volume

_log = logging.getLogger("worker.models")


def log_volume(volume: Path, catalog: Catalog) -> None:
    """Log what is on the network volume. Raises nothing."""
    with _log_failures():
        for line in describe_volume(volume, catalog):
            _log.info("%s", line)


def log_missing_models(workflow: Mapping[str, Any], volume: Path, catalog: Catalog) -> None:
    """If ``workflow`` names missing model files, log them, files that may be meant, and what is on the volume.

    Raises nothing.
    """
    with _log_failures():
        missing = [reference for reference in workflow_models(workflow, catalog) if reference.path is None]
        files = files_by_stem(catalog, volume) if missing else {}
        for reference in missing:
            _log.warning(
                "Node %s (%s) %s: %r is not there; it belongs into %s",
                *(one_line(text) for text in (reference.node_id, reference.class_type, reference.input_name)),
                reference.name,
                " or ".join(map(str, places_for(reference, catalog))) or "a folder that only the node knows",
            )
            for line in near_misses(reference, catalog, volume, files):
                _log.warning("  %s", line)
        if missing:
            log_volume(volume, catalog)


@contextlib.contextmanager
def _log_failures() -> Iterator[None]:
    """Log an exception and suppress it, since a problem with the volume must not fail the start or an answer."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        _log.warning("The diagnosis of the network volume ended early: %s: %s", type(error).__name__, error)
