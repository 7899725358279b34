"""Checks a container image by running it as RunPod would: ``scripts/build_image --check``."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from image.container import CheckFailed, Container, buildah, free_port, run_job, serving

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Check the image that the first argument names. Returns 1 if a step failed."""
    image = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        steps = [
            ("no compiler, no cache, no key and no setting of this machine is in it", check_content),
            ("the entry point serves, and a job is answered", check_job),
            ("process 1 is the worker, and ends on SIGTERM", check_first_process),
            ("PUBLIC_KEY lets its owner in by SSH", check_ssh),
            ("without a GPU, a pod's worker says so and ends", check_no_gpu),
            ("an image on top of it gets models, nodes and inputs", check_derived),
        ]
        failed = sum(not _step(name, check, image, Path(folder)) for name, check in steps)
    print(f"{len(steps) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _step(name: str, check: Any, image: str, folder: Path) -> bool:
    start = time.monotonic()
    try:
        told = check(image, folder)
    except (CheckFailed, OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = getattr(error, "stdout", None) or getattr(error, "output", None) or ""
        print(f"FAILED  {name}: {error}\n{output}", flush=True)
        return False
    print(f"ok      {name}: {told} ({time.monotonic() - start:.1f} s)", flush=True)
    return True


def check_content(image: str, _: Path) -> str:
    """Look for files that only the build needs, and for files that containers must not share."""
    unwanted = ["usr/bin/*gcc*", "usr/bin/cc", "usr/bin/make", "root/.cache/*", "var/lib/apt/lists/*_*", "etc/pip.conf"]
    unwanted += ["var/cache/apt/archives/*.deb", "etc/ssh/ssh_host_*", "comfyui/.git", "opt/comfy-worker/tests"]
    with Container(image) as container:
        found = [str(path.relative_to(container.root)) for name in unwanted for path in container.root.glob(name)]
        told = container.run("pip", "config", "list")[1].splitlines()
        packages = [line for line in told if not line.startswith(":env:")]
        compiled = list(container.root.glob("comfyui/comfy/__pycache__/samplers.*.pyc"))
    if found or packages or not compiled:
        raise CheckFailed(f"found {found}, pip settings {packages}, compiled {compiled}")
    return "and ComfyUI is compiled"


def check_job(image: str, folder: Path) -> str:
    """Start the image's entry point, send it two jobs, and run its health check."""
    request = json.loads((PROJECT / "examples" / "request.json").read_text())
    begin = time.monotonic()
    with Container(image) as container, serving(container, folder / "job.log") as (_, address):
        picture, _ = run_job(address, request)
        first = time.monotonic() - begin
        picture, seconds = run_job(address, request)
        port = address.rsplit(":", 1)[1]
        code, told = container.run("/healthcheck", SERVE_API_LOCALLY="true", LOCAL_API_PORT=port)
        if code != 0:
            raise CheckFailed(f"the health check ended with {code}: {told}")
    return (
        f"first answer {first:.1f} s after the start, the next in {seconds * 1000:.0f} ms, {len(picture)} bytes of PNG"
    )


def check_first_process(image: str, folder: Path) -> str:
    """Check that the worker is process 1 of its container, that it has loaded tcmalloc, and that SIGTERM ends it."""
    log = folder / "first.log"
    with Container(image) as container, serving(container, log) as (process, _):
        first = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        words = Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")
        number = [line for line in Path(f"/proc/{first}/status").read_text().splitlines() if line.startswith("NSpid")]
        if b"worker" not in words or number[0].split()[-1] != "1":
            raise CheckFailed(f"process 1 is {words}, {number}")
        if "tcmalloc" not in Path(f"/proc/{first}/maps").read_text():
            raise CheckFailed("tcmalloc is not loaded")
        os.kill(first, signal.SIGTERM)
        code = process.wait(30)
    if "Traceback" in log.read_text():
        raise CheckFailed(log.read_text()[-2000:])
    return f"python -m worker, ended with {code}"


def check_ssh(image: str, folder: Path) -> str:
    """Start with ``PUBLIC_KEY``, log in with the private key, and check the modes of the files for SSH."""
    if shutil.which("ssh") is None:
        raise CheckFailed("there is no ssh on this machine: apt-get install openssh-client")
    key, port = folder / "key", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with Container(image) as container:
        settings = container.root / "etc/ssh/sshd_config.d/check.conf"
        settings.write_text(f"ListenAddress 127.0.0.1\nPort {port}\n")
        if list((container.root / "etc/ssh").glob("ssh_host_*")):
            raise CheckFailed("the image has host keys of its own: every container would share them")
        public = key.with_suffix(".pub").read_text()
        with serving(container, folder / "ssh.log", PUBLIC_KEY=public):
            settings_file = folder / "ssh_config"
            settings_file.write_text(f"StrictHostKeyChecking no\nUserKnownHostsFile {folder}/known\nBatchMode yes\n")
            login = ["ssh", "-F", str(settings_file), "-i", str(key), "-p", str(port), "root@127.0.0.1"]
            told = _say(login, "stat -c %a ~/.ssh ~/.ssh/authorized_keys; ls /etc/ssh/ssh_host_*_key | wc -l")
            # People log in to run such commands, both directly and in a login shell.
            look = "COMFY_ARGS=--cpu COMFY_LOG_LEVEL=ERROR python -m worker check | tail -n 1"
            found = [_say(login, look), _say(login, f"bash -lc '{look}'")]
    if told.split() != ["700", "600", "3"]:
        raise CheckFailed(f"modes and host keys are {told}, not 700, 600, 3")
    if not all("A job can run here" in text for text in found):
        raise CheckFailed(f"python -m worker check, by SSH, said {found}")
    with Container(image) as container:
        (container.root / "usr/sbin/sshd").unlink()
        with serving(container, folder / "nossh.log", PUBLIC_KEY="ssh-ed25519 AAAA"):
            pass
    return "logged in, and checked; keys 700/600; a server that cannot start keeps no worker from starting"


def _say(login: list[str], command: str) -> str:
    """Run a command in the container, by SSH. Returns what it prints."""
    return subprocess.run([*login, command], check=True, capture_output=True, text=True, timeout=300).stdout


def check_no_gpu(image: str, _: Path) -> str:
    """Check that on a pod without a GPU the start fails at once, with the text that says what to do."""
    with Container(image) as container:
        code, told = container.run("/start.sh", RUNPOD_POD_ID="check", SERVE_API_LOCALLY="true", LOCAL_API_PORT="0")
    if code != 3 or "GPU is not available" not in told:
        raise CheckFailed(f"it ended with {code}: {told[-1000:]}")
    return "exit code 3"


_DERIVED = """\
FROM {image}
RUN comfy model download --url {web}/tiny.safetensors --relative-path models/checkpoints --filename tiny.safetensors
COPY comfy-build.yaml /environment/
RUN prepare-environment /environment/comfy-build.yaml --any-host
COPY input/ /comfyui/input/
"""
_NODE = """\
class Invert:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}
    RETURN_TYPES, FUNCTION = ("IMAGE",), "run"
    def run(self, image):
        return (1 - image,)
NODE_CLASS_MAPPINGS = {"CheckInvert": Invert}
"""


def check_derived(image: str, folder: Path) -> str:
    """Build an image on top as users of worker-comfyui do, and run a workflow that needs everything that was added."""
    web_root, context = folder / "web", folder / "context"
    _make_web(web_root)
    (context / "input").mkdir(parents=True)
    shutil.copy(PROJECT / "docs" / "landscape.jpg", context / "input" / "static.jpg")
    tag = f"{image.split(':')[0]}-check:{os.getpid()}"
    with serving_files(web_root) as web:
        (context / "Dockerfile").write_text(_DERIVED.format(image=image, web=web))
        (context / "comfy-build.yaml").write_text(_build_file(web_root, web))
        buildah("bud", "--isolation", "chroot", "--format", "docker", "--pull=never", "--tag", tag, str(context))
    try:
        with Container(tag) as container, serving(container, folder / "derived.log") as (_, address):
            if not list(container.root.glob("comfyui/custom_nodes/pack/__pycache__/__init__.*.pyc")):
                raise CheckFailed("prepare-environment has not compiled the pack")
            if not (container.root / "comfyui/models/checkpoints/listed.safetensors").is_file():
                raise CheckFailed("prepare-environment has not fetched the model")
            picture, seconds = run_job(address, {"input": {"workflow": _derived_workflow()}})
    finally:
        buildah("rmi", tag)
    return f"{len(picture)} bytes of PNG in {seconds:.1f} s"


def _build_file(web_root: Path, web: str) -> str:
    """A file that lists the node pack at its commit, and the checkpoint under another name, with its hash."""
    sha256 = hashlib.sha256((web_root / "tiny.safetensors").read_bytes()).hexdigest()
    commit = subprocess.check_output(["git", "-C", web_root / "pack.git", "rev-parse", "HEAD"], text=True).strip()
    model = {"type": "checkpoints", "filename": "listed.safetensors", "sourceUri": f"{web}/tiny.safetensors"}
    pack = {"name": "pack", "repository": f"{web}/pack.git", "gitRef": commit}
    definition = {"models": [model | {"sha256": sha256}], "customNodes": [pack]}
    return json.dumps({"schema": "comfy-build/1", "definition": definition})


def _make_web(root: Path) -> None:
    """Make a checkpoint and a node pack's git repository in ``root``, so that a web server can serve them."""
    pack = root / "pack"
    pack.mkdir(parents=True)
    make = [str(PROJECT / "scripts" / "make_tiny_checkpoint"), "--out", str(root / "tiny.safetensors")]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    (pack / "__init__.py").write_text(_NODE)
    git = ["git", "-C", str(pack), "-c", "user.name=check", "-c", "user.email=check@localhost"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "pack"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(pack), str(root / "pack.git")], check=True)
    subprocess.run(["git", "-C", str(root / "pack.git"), "update-server-info"], check=True)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def serving_files(root: Path) -> Iterator[str]:
    """Serve the files below ``root`` over HTTP on loopback. Yields the server's address."""
    handler = functools.partial(_QuietHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _derived_workflow() -> dict[str, Any]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "static.jpg"}},
        "2": {"class_type": "CheckInvert", "inputs": {"image": ["1", 0]}},
        "3": {
            "class_type": "ImageScale",
            "inputs": {"image": ["2", 0], "upscale_method": "bilinear", "width": 64, "height": 64, "crop": "center"},
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
        "5": {"class_type": "VAEEncode", "inputs": {"pixels": ["3", 0], "vae": ["4", 2]}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["4", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "derived"}},
    }


if __name__ == "__main__":
    sys.exit(main())
