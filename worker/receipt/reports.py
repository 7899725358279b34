"""``Reports``: whether jobs are measured, and who gets to know what of a receipt."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import platform
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Protocol, cast

from worker.receipt.metrics import metrics_of
from worker.receipt.receipt import Receipt
from worker.settings import Settings

Listener = Callable[[str, Receipt], None]
_log = logging.getLogger("worker")
_IN_LOG: Final = ("start", "gpu_seconds", "bytes_in", "models", "vram_peak_bytes")


def _or_nothing(make: Callable[[Reports, Receipt], dict[str, Any]]) -> Callable[[Reports, Receipt], dict[str, Any]]:
    """``make`` that returns an empty dict where it would raise: no finished answer is lost for a receipt."""

    @functools.wraps(make)
    def safely(reports: Reports, receipt: Receipt) -> dict[str, Any]:
        try:
            return make(reports, receipt)
        except Exception:  # noqa: BLE001
            _log.exception("The metrics of a job cannot be made")
            return {}

    return safely


class Versions(Protocol):
    """What knows versions."""

    def versions(self) -> Mapping[str, str]:
        """The version of each part, by its name."""


class Reports:
    """What the settings say about receipts.

    Args:
        settings: the worker's.
        runtime: ComfyUI in this process; None if it is a server elsewhere.

    Attributes:
        listeners: called with the outcome and the receipt of each job that has ended.
        under_way: the receipts of the jobs that have not ended.
    """

    def __init__(self, settings: Settings, runtime: Versions | None) -> None:
        self._level, self.price = settings.report_metrics, settings.gpu_price_per_hour
        self._runtime = runtime
        self.listeners: list[Listener] = []
        self.under_way: set[Receipt] = set()

    def begin(self) -> Receipt | None:
        """The receipt of a job that begins now; None if nobody would read it."""
        if self._level == "off" and not self.listeners:
            return None
        receipt = Receipt()
        self.under_way.add(receipt)
        return receipt

    def end(self, outcome: str, receipt: Receipt) -> None:
        """Tell the listeners that a job has ended."""
        receipt.end()
        self.under_way.discard(receipt)
        for listener in self.listeners:
            try:
                listener(outcome, receipt)
            except Exception:  # noqa: BLE001 - no finished answer is lost for a receipt.
                _log.exception("A job cannot be counted")

    @_or_nothing
    def for_caller(self, receipt: Receipt) -> dict[str, Any]:
        """What an answer has as ``metrics``; empty if it has none."""
        if self._level == "off":
            return {}
        metrics = cast(dict[str, Any], metrics_of(receipt))
        return metrics | self._for_operator(receipt) if self._level == "full" else metrics

    @_or_nothing
    def for_log(self, receipt: Receipt) -> dict[str, Any]:
        """What the line about a job has. It has its seconds already, and the nodes would be too long."""
        metrics = metrics_of(receipt)
        return {key: metrics[key] for key in _IN_LOG if key in metrics} | self._for_operator(receipt)

    def _for_operator(self, receipt: Receipt) -> dict[str, Any]:
        known: dict[str, Any] = {"versions": self.versions}
        if receipt.memory.peak:
            known["rss_peak_bytes"] = receipt.memory.peak
        return known if self.price is None else {**known, "cost": round(self.cost(receipt), 8)}

    def cost(self, receipt: Receipt) -> float:
        """What the job's GPU seconds have cost; 0 if no price is set."""
        return (self.price or 0.0) * receipt.gpu_seconds / 3600

    @cached_property
    def versions(self) -> dict[str, str]:
        """The versions of the worker, if it is installed as a package, and of what it runs."""
        found = {"python": platform.python_version()}
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found["worker"] = importlib.metadata.version("comfy-worker")
        return {**found, **(self._runtime.versions() if self._runtime is not None else {})}
