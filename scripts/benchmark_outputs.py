"""What it costs to hand out images: this worker beside ComfyUI's own SaveImage, and beside RunPod's uploader.

``photo-1024``, ``photo-1024-batch4``: LoadImage → ImageBlend → SaveImage of a 1024² photograph, one or four; ours is
the handler, from the job's dict to the answer's dict; stock is the bare executor with ComfyUI's own SaveImage, its
files read back and encoded as base64. ``upload-4``: four such files to an S3 server on loopback (moto, a process of its
own); ours in parallel through one client, RunPod's ``rp_upload.upload_image`` one after the other. Each pair runs in
turn, A B A B. ``peak-rss``: memory above the idle worker while 16 such images are delivered inline, as they are sent,
as a multiple of their tensor.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.bare import bare_executor
from bench.workflows import PHOTO, blend, photograph
from comfy_server import free_port
from PIL import Image
from s3_server import KEYS, client

from worker import Worker
from worker.answer.result import Artifact
from worker.bucket.address import parse_endpoint
from worker.bucket.bucket import Bucket
from worker.bucket.uploads import Uploads
from worker.engine.workspace import Workspace
from worker.handler import JobHandler, make_handler

Way = Callable[[int], None]
TENSOR_BYTES = 16 * 1024 * 1024 * 3 * 4


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_outputs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="pairs to measure of each case (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    options = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = {}
    with Worker() as worker, s3_process() as url:
        photo = photograph()
        peak = peak_memory(worker, photo)
        for name, count in (("photo-1024", 1), ("photo-1024-batch4", 4)):
            times[name] = pairs(options.runs, *image_paths(worker, photo, count))
        times["upload-4"] = pairs(options.runs, *upload_paths(worker, url))
        figures = {
            "comfyui": worker.runtime.source.version if worker.runtime else "",
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "runs": options.runs,
            "milliseconds": times,
            "peak_rss_mb": peak / 1e6,
            "tensor_mb": TENSOR_BYTES / 1e6,
        }
    figures["ratios"] = {name: ratio(case) for name, case in times.items()} | {"peak-rss": peak / TENSOR_BYTES}
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def image_paths(worker: Worker, photo: bytes, count: int) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """The handler, and the bare executor with ComfyUI's own SaveImage; each gives ``count`` pictures."""
    encoded = base64.b64encode(photo).decode()
    handle, runner = make_handler(worker), asyncio.Runner()
    bare = bare_executor(worker)

    def ours(index: int) -> None:
        job = {"workflow": blend(count, index * 1e-7), "images": [{"name": PHOTO, "image": encoded}]}
        answer = runner.run(handle({"id": "b", "input": job}))
        check(len(answer.get("images", [])) == count, answer.get("error"))

    def stock(index: int) -> None:
        check(len(bare(blend(count, index * 1e-7), {PHOTO: photo}).files) == count, "stock")

    return ours, stock


def upload_paths(worker: Worker, url: str) -> tuple[Way, Way]:
    """Our uploads of four files, and RunPod's."""
    if worker.runtime is None:
        raise RuntimeError("the worker is not open")
    workspace = worker.runtime.state.new_workspace()
    workspace.output.mkdir()
    artifacts = [picture(workspace, index) for index in range(4)]
    bucket = Bucket(parse_endpoint(url, "pictures"), KEYS["aws_access_key_id"], KEYS["aws_secret_access_key"])
    os.environ |= {
        "BUCKET_ENDPOINT_URL": url,
        "BUCKET_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "BUCKET_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
    }
    from worker.runpod.sdk import rp_upload

    def ours(index: int) -> None:
        uploads = Uploads(bucket, f"ours-{index}", workspace.output)
        begun = [uploads.prepare(artifact) for artifact in artifacts]
        check(all("X-Amz" in upload.result(60) for upload in begun), "ours")

    def theirs(index: int) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            urls = [rp_upload.upload_image(f"theirs-{index}", str(artifact.path)) for artifact in artifacts]
        check(all("X-Amz" in url for url in urls), "theirs")

    return ours, theirs


def picture(workspace: Workspace, index: int) -> Artifact:
    """A photograph as a file that a node has saved."""
    path = workspace.output / f"photo_{index:05}_.png"
    Image.open(io.BytesIO(photograph())).save(path, compress_level=4)
    return Artifact("5", "images", path.name, "", "image/png", path, workspace)


def pairs(runs: int, ours: Way, other: Way) -> dict[str, list[float]]:
    """Milliseconds of ``runs`` pairs, after two to warm up."""
    times: dict[str, list[float]] = {"ours": [], "other": []}
    for index in range(-2, runs):
        for name, run in (("ours", ours), ("other", other)):
            start = time.perf_counter()
            run((index + 3) * 7919 + (name == "ours"))
            if index >= 0:
                times[name].append((time.perf_counter() - start) * 1000)
    return times


def peak_memory(worker: Worker, photo: bytes) -> float:
    """Bytes that the process needs at most above what it has when idle, while 16 images are delivered inline."""
    handler = JobHandler(worker)
    image = {"name": PHOTO, "image": base64.b64encode(photo).decode()}

    def deliver(count: int) -> int:
        workflow = {key: node for key, node in blend(count, 0).items() if key != "4"}
        workflow["5"]["inputs"]["images"] = ["2", 0]
        job = {"id": "b", "input": {"workflow": workflow, "images": [image]}}
        reply = asyncio.run(handler.reply(job, limit_mb=64))
        check(reply.error is None, reply.error)
        return len(reply.body())

    deliver(1)
    Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak so far.
    idle = memory("VmRSS")
    check(deliver(16) > 16_000_000, "the answer is too small")
    return memory("VmHWM") - idle


def memory(field: str) -> float:
    """A size of this process, in bytes, from ``/proc``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    raise RuntimeError(f"/proc has no {field}")


@contextlib.contextmanager
def s3_process() -> Iterator[str]:
    """An S3 server in a process of its own; its address."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}"
        for bucket in ("pictures", time.strftime("%m-%y")):
            client(url).create_bucket(Bucket=bucket)
        yield url
    finally:
        process.terminate()
        process.wait()


def check(right: bool, what: object) -> None:
    """End the benchmark where a run gave something else than it should."""
    if not right:
        raise SystemExit(f"benchmark_outputs: a run went wrong: {what}")


def ratio(case: dict[str, list[float]]) -> float:
    """Median of ours over median of the other."""
    return statistics.median(case["ours"]) / statistics.median(case["other"])


def report(figures: dict[str, Any]) -> str:
    """The table that is printed."""
    lines = [
        f"ComfyUI {figures['comfyui']}, Python {figures['python']}, {figures['processors']} processors, "
        f"{figures['runs']} pairs",
        f"{'':<20}{'ours':>9}{'p5':>8}{'p95':>8}{'other':>10}{'p5':>8}{'p95':>8}   ms{'ratio':>9}",
    ]
    for name, case in figures["milliseconds"].items():
        cells = []
        for key in ("ours", "other"):
            cuts = statistics.quantiles(case[key], n=20)
            cells.append(f"{statistics.median(case[key]):>9.1f}{cuts[0]:>8.1f}{cuts[-1]:>8.1f}")
        lines.append(f"{name:<20}{cells[0]} {cells[1]}{figures['ratios'][name]:>14.2f}")
    lines.append(
        f"{'peak-rss':<20}{figures['peak_rss_mb']:.0f} MB for a tensor of {figures['tensor_mb']:.0f} MB"
        f"{figures['ratios']['peak-rss']:>10.2f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
