"""The worker's secrets leave the environment of all its processes, and what needs them still has them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from runpod_worker import Start

from worker import Worker
from worker.handler import make_handler

CANARY = "hidden-canary-4718"
SECRETS = {
    "BUCKET_ENDPOINT_URL": f"https://{CANARY}-0.example.com",
    "BUCKET_ACCESS_KEY_ID": f"{CANARY}-1",
    "bucket_secret_access_key": f"{CANARY}-2",
    "LOCAL_API_TOKEN": f"{CANARY}-3",
    "COMFY_ORG_API_KEY": f"{CANARY}-4",
    "RUNPOD_AI_API_KEY": f"{CANARY}-5",
    "RUNPOD_API_KEY": f"{CANARY}-6",
    "HF_TOKEN": f"{CANARY}-7",
    "HIDE_ENV": "HF_TOKEN,NO_SUCH_VARIABLE",
}
PROGRAM = """
import json, os, posix, subprocess, sys
from worker.settings import take_settings
settings = take_settings()
def environ(process):
    return open(f"/proc/{process}/environ", "rb").read().decode()
fork_reads, fork_writes = os.pipe()
if os.fork() == 0:
    os.write(fork_writes, environ("self").encode())
    os._exit(0)
os.wait()
child = [sys.executable, "-c", "import os; print(dict(os.environ), open('/proc/self/environ').read())"]
seen = {
    "os.environ": str(dict(os.environ)),
    "posix.environ": str(posix.environ),
    "/proc": environ("self"),
    "fork": os.read(fork_reads, 1_000_000).decode(),
    "child": subprocess.check_output(child, text=True),
}
print(json.dumps([seen, [secret for secret in settings.secrets()]]))
"""


def test_secrets_leave_the_environment_and_other_variables_stay(project: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=project,
        env=os.environ | SECRETS | {"PYTHONPATH": str(project), "OTHER": "stays"},
        capture_output=True,
        text=True,
        check=True,
    )
    seen, secrets = json.loads(answer.stdout)
    assert {f"{CANARY}-{number}" for number in (1, 2, 3, 4, 5)} <= set(secrets)
    for place, text in seen.items():
        assert CANARY not in text, place
        assert "stays" in text, place


def test_no_process_of_a_worker_shows_its_keys_and_runpod_still_gets_them(start: Start) -> None:
    key = {"RUNPOD_AI_API_KEY": f"{CANARY}-5", "COMFY_ORG_API_KEY": f"{CANARY}-4"}
    with start(**key) as process:
        process.api.give("a", {"workflow": graphs.solid(8)})
        assert process.api.result("a")["output"]["images"]
        process.api.wait(lambda: process.api.pings)
        asked = {(what, key["RUNPOD_AI_API_KEY"]) for what in ("ping", "job-take", "job-stop")}
        assert process.api.keys == asked
        children = process.children()
        assert children
        for pid in (process.process.pid, *(child.pid for child in children)):
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
            assert CANARY not in environment
            assert "RUNPOD_ENDPOINT_ID=ep" in environment
        assert CANARY not in process.log()


def test_packs_find_the_tokens_of_model_hosts_unless_they_are_hidden(project: Path) -> None:
    tokens = {"HF_TOKEN": f"{CANARY}-7", "CIVITAI_TOKEN": f"{CANARY}-8"}
    for hidden in ("", "CIVITAI_TOKEN"):
        program = "import os; from worker.settings import take_settings; s = take_settings(); print(len(s.secrets()), "
        program += "[name for name in ('HF_TOKEN', 'CIVITAI_TOKEN') if name in os.environ])"
        answer = subprocess.run(
            [sys.executable, "-c", program],
            cwd=project,
            env=os.environ | tokens | {"PYTHONPATH": str(project), "HIDE_ENV": hidden},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = "['HF_TOKEN']" if hidden else "['HF_TOKEN', 'CIVITAI_TOKEN']"
        assert answer.stdout.strip() == f"2 {seen}"  # Both are masked in logs and answers.


def test_comfyuis_queue_does_not_hold_the_key_of_the_job_that_runs(worker: Worker) -> None:
    assert worker.runtime is not None
    queue = worker.runtime.main.server.PromptServer.instance.prompt_queue
    seen: list[str] = []
    job = {"workflow": graphs.solid(8), "comfy_org_api_key": CANARY}
    worker.run(job, on_event=lambda _: seen.append(str(queue.currently_running)))
    assert any("EmptyImage" in text for text in seen)
    assert CANARY not in str(seen)


def test_nothing_in_the_process_holds_the_key_of_a_job_that_has_failed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's handlers keep each line, and ComfyUI logs the failure.
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    workflow = graphs.solid(9)
    workflow["7"] = graphs.node("TestRaises", image=["1", 0])
    workflow["8"] = graphs.node("SaveImage", images=["7", 0], filename_prefix="x")
    halves = CANARY[:10], CANARY[10:] + "-of-a-job"

    def run() -> str:
        job = {"workflow": workflow, "comfy_org_api_key": "".join(halves)}
        return str(asyncio.run(make_handler(worker)({"id": "job-1", "input": job})))

    assert "Node ID: 7" in run()
    assert not holders("".join(halves))
    kept = [{"key": "".join(halves)}]
    assert len(holders("".join(halves))) == len(kept)  # It finds what there is.


def holders(text: str) -> list[str]:
    """The objects of this process that refer to another text, with ``text`` in it."""
    gc.collect()
    waiting = gc.get_objects()
    seen = set(map(id, waiting))
    found = []
    while waiting:
        holder = waiting.pop()
        for held in gc.get_referents(holder):
            if isinstance(held, str) and held is not text and text in held:
                found.append(f"{type(holder).__name__}: {str(holder)[:200]}")
            elif id(held) not in seen and not gc.is_tracked(held):  # Such as a dict that holds nothing but texts.
                seen.add(id(held))
                waiting.append(held)
    return found
