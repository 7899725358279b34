"""Measures how fast images are delivered: ``python -m bench.phases.outputs_process S3_URL RUNS``.

``photo-1024``, ``photo-1024-batch4``: LoadImage → ImageBlend → SaveImage of one or four photographs of 1024². The
worker is timed from the job's dict to the answer's dict. It is compared with the bare executor and ComfyUI's own
SaveImage, whose files are read and encoded as base64.

``upload-4``: four such files are sent to an S3 server. The worker sends them in parallel through one client. RunPod's
``rp_upload.upload_image`` sends one after the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from s3_server import KEYS

from bench.contenders.bare import BareExecutor
from bench.contenders.child import one_line
from bench.contenders.pipe import Message, Pipe, die_with_parent
from bench.phases.outputs import CASES
from bench.workload.workflows import PHOTO, blend, photograph
from worker import Worker
from worker.answer.result import Artifact
from worker.bucket.address import parse_endpoint
from worker.bucket.bucket import Bucket
from worker.bucket.uploads import Uploads
from worker.engine.workspace import Workspace
from worker.handler import JobHandler, make_handler

Way = Callable[[int], None]
_TENSOR_IMAGES = 16
_TENSOR_BYTES = _TENSOR_IMAGES * 1024 * 1024 * 3 * 4
_WARM_UPS = 2


class WentWrong(Exception):
    """A run did not give what it should."""


def main() -> None:
    """Measure the memory, then pairs of runs. Send each measurement as a message."""
    die_with_parent(signal.SIGKILL)
    pipe = Pipe()
    url, runs = sys.argv[1], int(sys.argv[2])
    try:
        with Worker() as worker:
            pipe.send({"peak_rss": peak_memory(worker), "tensor": _TENSOR_BYTES})
            ways = (image_ways(worker, 1), image_ways(worker, 4), upload_ways(worker, url))
            for ours, other in dict(zip(CASES, ways, strict=True)).values():
                for index in range(-_WARM_UPS, runs):
                    pair = measured(index, ours, other)
                    if index >= 0:
                        pipe.send(pair)
    except Exception as error:  # noqa: BLE001 - the benchmark reports it.
        pipe.send({"error": one_line(error)})


def measured(index: int, ours: Way, other: Way) -> Message:
    """Run one pair. Returns its milliseconds."""
    pair: Message = {}
    for name, run in (("worker", ours), ("other", other)):
        start = time.perf_counter()
        run((index + _WARM_UPS + 1) * 7919 + (name == "worker"))
        pair[name] = (time.perf_counter() - start) * 1000
    return pair


def image_ways(worker: Worker, count: int) -> tuple[Way, Way]:
    """The handler, and the bare executor with ComfyUI's own SaveImage. Each makes ``count`` pictures."""
    photo = photograph()
    encoded = base64.b64encode(photo).decode()
    handle, runner = make_handler(worker), asyncio.Runner()
    bare = BareExecutor(worker)

    def ours(index: int) -> None:
        job = {"workflow": blend(count, index * 1e-7), "images": [{"name": PHOTO, "image": encoded}]}
        answer = runner.run(handle({"id": "benchmark", "input": job}))
        check(len(answer.get("images", [])) == count, answer.get("error"))

    def stock(index: int) -> None:
        check(len(bare(blend(count, index * 1e-7), {PHOTO: photo}).files) == count, "the bare executor's files")

    return ours, stock


def upload_ways(worker: Worker, url: str) -> tuple[Way, Way]:
    """Uploads of four files by the worker, and by RunPod's SDK."""
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
        check(all("X-Amz" in upload.result(60) for upload in begun), "the worker's URLs")

    def theirs(index: int) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            urls = [rp_upload.upload_image(f"theirs-{index}", str(artifact.path)) for artifact in artifacts]
        check(all("X-Amz" in url for url in urls), "RunPod's URLs")

    return ours, theirs


def picture(workspace: Workspace, index: int) -> Artifact:
    """A photograph as a file that a node has saved."""
    path = workspace.output / f"photo_{index:05}_.png"
    Image.open(io.BytesIO(photograph())).save(path, compress_level=4)
    return Artifact("5", "images", path.name, "", "image/png", path, workspace)


def peak_memory(worker: Worker) -> float:
    """Most bytes that the process needs, above its idle state, while 16 images are delivered in an answer."""
    handler = JobHandler(worker)
    image = {"name": PHOTO, "image": base64.b64encode(photograph()).decode()}

    def deliver(count: int) -> int:
        workflow = {key: node for key, node in blend(count, 0).items() if key != "4"}
        workflow["5"]["inputs"]["images"] = ["2", 0]
        job = {"id": "benchmark", "input": {"workflow": workflow, "images": [image]}}
        reply = asyncio.run(handler.reply(job, limit_mb=64))
        check(reply.error is None, reply.error)
        return len(reply.body())

    deliver(1)
    Path("/proc/self/clear_refs").write_text("5")  # Resets the peak.
    idle = memory("VmRSS")
    check(deliver(_TENSOR_IMAGES) > _TENSOR_IMAGES * 1_000_000, "the answer is too small")
    return memory("VmHWM") - idle


def memory(field: str) -> float:
    """A size of this process, in bytes, from ``/proc``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    raise RuntimeError(f"/proc has no {field}")


def check(right: bool, what: object) -> None:
    """Check that a run gave what it should.

    Raises:
        WentWrong: ``right`` is false.
    """
    if not right:
        raise WentWrong(f"a run went wrong: {what}")


if __name__ == "__main__":
    main()
