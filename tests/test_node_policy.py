"""NODE_ALLOWLIST and NODE_DENYLIST: which node classes callers may use."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.engine.node_policy import NodePolicy
from worker.errors import WorkflowRejected
from worker.job.job import InputImage, Job
from worker.settings import load_settings


@pytest.mark.parametrize(
    ("allowed", "denied", "permitted", "refused"),
    [
        ((), (), ["SaveImage", ""], []),
        (("SaveImage",), (), ["SaveImage"], ["saveimage", "SaveImage ", "SaveImageWebsocket", "LoadImage", ""]),
        (("Load*", "KSampler?"), (), ["LoadImage", "Load", "KSamplerA"], ["KSampler", "ReLoad"]),
        ((), ("*(Path)*",), ["Load Video"], ["Load Video (Path)", "(Path)\n"]),
        (("*",), ("SaveImage",), ["LoadImage"], ["SaveImage"]),
        (("SaveImage",), ("Save*",), [], ["SaveImage"]),
        ((), ("Bridge [Inspire]",), ["Bridge "], ["Bridge [Inspire]"]),
    ],
)
def test_names(allowed: tuple[str, ...], denied: tuple[str, ...], permitted: list[str], refused: list[str]) -> None:
    policy = NodePolicy(allowed, denied)
    assert [name for name in [*permitted, *refused] if policy.permits(name)] == permitted


def test_a_refusal_has_a_bullet_a_node() -> None:
    graph = graphs.solid() | {"4": graphs.node("SaveText"), "x": graphs.node("SaveText")}
    with pytest.raises(WorkflowRejected) as caught:
        NodePolicy((), ("SaveText",)).check(graph)
    assert caught.value.answer() == {
        "error": "Workflow validation failed:\n• Node 4 (SaveText): this node class is not allowed here"
        "\n• Node x (SaveText): this node class is not allowed here",
        "error_type": "workflow_validation",
    }


def test_a_long_refusal_is_cut_and_can_be_sent() -> None:
    graph = {f"\ud800{index}": graphs.node("N" * 100_000) for index in range(1000)}
    with pytest.raises(WorkflowRejected) as caught:
        NodePolicy(("SaveImage",)).check(graph)
    assert len(str(caught.value).encode()) < 20_000
    assert str(caught.value).endswith("• and 975 more")


def test_a_successor_must_be_allowed_as_well() -> None:
    graph = {"1": graphs.node("Old")}
    successors = {"Old": "New"}.get
    NodePolicy((), ("Other",)).check(graph, lambda name: successors(name, name))
    for policy in (NodePolicy((), ("New",)), NodePolicy(("Old",))):
        with pytest.raises(WorkflowRejected):
            policy.check(graph, lambda name: successors(name, name))


@pytest.mark.parametrize(
    ("policy", "warnings"),
    [
        (NodePolicy(("Save*", "Nope"), ("Load*",)), []),
        (
            NodePolicy(("saveimage",)),
            ["NODE_ALLOWLIST names no node class that is installed: every workflow will be refused"],
        ),
        (
            NodePolicy((), ("LoadImage", "Lode*", "x")),
            ["NODE_DENYLIST names no node class that is installed with 'Lode*', 'x'"],
        ),
    ],
)
def test_what_the_start_warns_of(policy: NodePolicy, warnings: list[str]) -> None:
    assert list(policy.warnings(["SaveImage", "LoadImage"])) == warnings


def test_the_lists_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ALLOWLIST", " Load*, SaveImage ,")
    assert (load_settings().node_allowlist, load_settings().node_denylist) == (("Load*", "SaveImage"), ())


@pytest.fixture
def limited(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(worker, "_policy", NodePolicy(("*",), ("TestShowsText", "TestCountsRuns")))
    return worker


@pytest.mark.backends("embedded", "websocket")
def test_nothing_of_a_refused_job_is_done(limited: Worker) -> None:
    graph = graphs.solid() | {"9": graphs.node("TestCountsRuns", image=["1", 0])}  # Which ComfyUI would leave out.
    job = Job("job-1", graph, (InputImage("a.png", "no base64"),))
    with pytest.raises(WorkflowRejected, match=r"• Node 9 \(TestCountsRuns\): this node class is not allowed here"):
        limited.run_job(job)
    assert limited.run(graphs.solid()).ok


def test_a_class_that_is_gone_counts_as_its_successor(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = worker.embedded_runtime()
    assert runtime.runs_as("SaveImage") == "SaveImage"
    assert runtime.runs_as("Nope") == "Nope"
    known = getattr(runtime.main.server.PromptServer.instance, "node_replace_manager", None)
    if known is None:
        pytest.skip("this version knows no successors")
    old, successors = next(item for item in known._replacements.items() if not runtime.has_node_class(item[0]))
    assert runtime.runs_as(old) == successors[0].new_node_id
    monkeypatch.setattr(worker, "_policy", NodePolicy((), (successors[0].new_node_id,)))
    with pytest.raises(WorkflowRejected, match="not allowed"):
        worker.run({"1": graphs.node(old)})


@pytest.mark.full  # ``check`` gives the same warning, and a refusal is tested above.
def test_run_warns_and_refuses(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = command("run", "examples/landscape.json", NODE_ALLOWLIST="Nope*")
    assert done.returncode == 2, done.stdout + done.stderr
    output: Any = " ".join((done.stdout + done.stderr).split())
    assert "NODE_ALLOWLIST names no node class that is installed" in output
    assert "this node class is not allowed here" in output
