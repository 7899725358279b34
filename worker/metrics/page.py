"""``MetricsPage``: the numbers that Prometheus reads, with Prometheus's own library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from worker.receipt.receipt import Receipt
from worker.receipt.reports import Reports
from worker.receipt.spans import total

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_BESIDE = ("model_read_ahead", "model_read", "model_load", "encode", "upload")


class Device(Protocol):
    """Knows the CUDA device."""

    def vram(self) -> Mapping[str, int]:
        """Bytes of its memory by state, ``free`` and ``total``; empty without a device."""


@dataclass(frozen=True)
class Rendered:
    """The page, and its ``Content-Type``."""

    content: bytes
    content_type: str


class MetricsPage:
    """Counts jobs, and shows them with what is true now.

    Args:
        reports: tells of each job that ends, and knows those that have not.
        device: the device of ComfyUI in this process; None if it is a server elsewhere.
        in_queue: how many jobs the local API lets wait.
    """

    def __init__(self, reports: Reports, device: Device | None, in_queue: Callable[[], int] = lambda: 0) -> None:
        self._reports = reports
        self._registry = CollectorRegistry()
        self._make_counters()
        self._make_gauges(in_queue)
        if device is not None:
            self._registry.register(_DeviceMemory(device))
        ProcessCollector(registry=self._registry)
        reports.listeners.append(self.observe)

    def rendered(self, accept: str) -> Rendered:
        """The page in the format that the ``Accept`` header asks for."""
        encoder, content_type = choose_encoder(accept)
        return Rendered(encoder(self._registry), content_type)

    def observe(self, outcome: str, receipt: Receipt) -> None:
        """Count a job that has ended."""
        self._jobs.labels(outcome).inc()
        self._job_seconds.observe(receipt.seconds)
        for phase, seconds in receipt.phase_seconds().items():
            self._phase_seconds.labels(phase, "false").observe(seconds)
        for name in _BESIDE:
            if spans := receipt.overlaps(name):
                self._phase_seconds.labels(name, "true").observe(total(spans))
        cached = sum(node.is_cached for node in receipt.nodes.values())
        self._nodes.labels("cached").inc(cached)
        self._nodes.labels("run").inc(len(receipt.nodes) - cached)
        self._gpu_seconds.inc(receipt.gpu_seconds)
        self._cost.inc(self._reports.cost(receipt))
        self._observe_counts(receipt)

    def _observe_counts(self, receipt: Receipt) -> None:
        counts = receipt.counts
        self._bytes_in.inc(counts.bytes_in)
        self._bytes_out.inc(counts.bytes_out)
        self._model_reads.inc(counts.model_reads)
        self._model_bytes.inc(counts.model_bytes)
        self._bucket_errors.inc(counts.bucket_errors)
        if receipt.nodes and receipt.is_cold:
            self._cold.inc()
        if receipt.memory.peak:
            self._job_rss.set(receipt.memory.peak)
        if counts.vram_peak is not None:
            self._job_vram.set(counts.vram_peak)

    def _make_counters(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"comfy_worker_{name}", text, labels, registry=self._registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"comfy_worker_{name}", text, labels, buckets=_SECONDS, registry=self._registry)

        self._jobs = counter("jobs", "Jobs that have ended, by outcome", "outcome")
        self._job_seconds = histogram("job_seconds", "Seconds of a job in the worker, until its answer")
        text = "Seconds of each phase of a job; overlaps=true: it went on during other phases"
        self._phase_seconds = histogram("phase_seconds", text, "phase", "overlaps")
        self._nodes = counter("nodes", "Nodes of the workflows: run, or cached and so not run", "result")
        self._gpu_seconds = counter("gpu_seconds", "Seconds in which no other job could use the GPU")
        self._cost = counter("cost", "Cost of the GPU seconds, by GPU_PRICE_PER_HOUR")
        self._bytes_in = counter("input_bytes", "Size of the jobs' input files")
        self._bytes_out = counter("output_bytes", "Size of the files that were delivered")
        self._model_reads = counter("model_reads", "Model files that ComfyUI has read")
        self._model_bytes = counter("model_read_bytes", "Size of the model files that ComfyUI has read")
        self._bucket_errors = counter("bucket_errors", "Files that could not be stored in the bucket")
        self._cold = counter("cold_jobs", "Jobs whose workflow was the first of this process")

    def _make_gauges(self, in_queue: Callable[[], int]) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"comfy_worker_{name}", text, labels, registry=self._registry)

        under_way = self._reports.under_way
        self._queue = gauge("queue_jobs", "Jobs that wait: in the local API's queue, or for their turn", "place")
        self._queue.labels("api").set_function(in_queue)
        self._queue.labels("turn").set_function(lambda: sum(each.phase == "queue" for each in list(under_way)))
        self._running = gauge("jobs_in_progress", "Jobs that the worker holds")
        self._running.set_function(lambda: len(under_way))
        self._job_rss = gauge("job_rss_peak_bytes", "Most memory of the process during the last job")
        self._job_vram = gauge("job_vram_peak_bytes", "Most memory of the CUDA device that the last job allocated")
        for each in (self._job_rss, self._job_vram):
            each.set(math.nan)  # Until a job has ended that tells it.
        Info("comfy_worker_build", "Versions", registry=self._registry).info(self._reports.versions)


class _DeviceMemory(Collector):
    """Reads the device's memory when somebody asks."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("comfy_worker_vram_bytes", "Memory of the CUDA device", labels=["state"])
        for state, size in self._device.vram().items():
            family.add_metric([state], size)
        yield family
