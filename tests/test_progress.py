"""Progress is folded from events as they come."""

from __future__ import annotations

import json

from worker.events import Message, NodeProgress, NodesCached, NodeStarted, PromptEnded, PromptStarted
from worker.progress.job_progress import JobProgress


def test_a_workflow_from_start_to_end() -> None:
    progress = JobProgress()
    assert progress.report() == {
        "stage": "running", "message": "starting", "percent": 0.0, "completed_nodes": 0, "total_nodes": 0, "seconds": 0,
    }  # fmt: skip
    percents = []
    for event in (
        PromptStarted("p", 4),
        NodesCached(("1",)),
        NodeStarted("2", "2", "KSampler"),
        NodeProgress("2", 5, 20),
        NodeProgress("2", 20, 20),
        NodeStarted("3", "3", "VAEDecode"),
        Message("anything", {}),
        NodeStarted("4", "4", "SaveImage"),
    ):
        progress(event)
        percents.append(progress.percent)
    assert percents == [0, 25, 25, 31.25, 50, 50, 50, 75]
    assert progress.report()["message"] == "SaveImage (4)"
    progress(PromptEnded("p", "success"))
    assert (progress.percent, progress.completed, progress.report()["stage"]) == (100, 4, "saving")


def test_an_expansion_counts_as_the_node_that_the_user_sees() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 2))
    for node_id in ("1", *(f"1.{index}" for index in range(9))):
        progress(NodeStarted(node_id, "1", "Loop"))
    assert (progress.completed, progress.percent) == (0, 0)


def test_numbers_and_names_that_json_cannot_hold() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("\ud800", "\ud800", "x" * 1000))
    progress(NodeProgress("1", float("nan"), 20))
    progress(NodeProgress("1", float("inf"), float("inf")))
    report = progress.report()
    json.dumps(report, allow_nan=False, ensure_ascii=False).encode()
    assert len(report["message"]) < 300


def test_steps_that_make_no_sense_do_no_harm() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("1", "1", "Odd"))
    progress(NodeProgress("1", 7, 0))
    assert progress.percent == 0
    progress(NodeProgress("1", 30, 20))
    assert progress.percent == 99.9, "it is not at its end"
