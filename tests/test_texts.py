"""Texts for callers: validation bullets to the letter, and nothing of the machine."""

from __future__ import annotations

from typing import Any

import pytest

from worker.protocol.origins import Origins
from worker.protocol.rejection import explain_rejection
from worker.redact import public_text

CHECKPOINT = {"type": "value_not_in_list", "message": "Value not in list", "details": "…",
              "extra_info": {"input_name": "ckpt_name", "received_value": "x.safetensors",
                             "input_config": [["a", "b"], {}]}}  # fmt: skip
WORKFLOW = {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {}}}


class Everything:
    """A ComfyUI that has every class, and tells nothing about any. ``checkpoints``: names of its model files."""

    def __init__(self, checkpoints: list[str]) -> None:
        self._checkpoints = checkpoints

    def has_node_class(self, class_type: str) -> bool:
        return True

    def inputs_of(self, class_type: str) -> dict[str, Any]:
        return {}

    def outputs_of(self, class_type: str) -> None: ...

    def is_output(self, class_type: str) -> bool:
        return True

    def why_missing(self, class_type: str) -> None: ...

    def listed_packs(self, class_type: str) -> None: ...

    def model_files(self, folder: str) -> list[str]:
        return self._checkpoints


def explained(node_errors: dict[str, Any], checkpoints: list[str]) -> str:
    """The text for ``node_errors``."""
    return explain_rejection(
        {"type": "prompt_outputs_failed_validation"}, node_errors, WORKFLOW, (), Everything(checkpoints), Origins()
    )


@pytest.mark.parametrize(
    ("checkpoints", "ending"),
    [
        (["a", "b"], "Available checkpoint models: a, b"),
        ([], "No checkpoint models appear to be available. Please check your model installation."),
    ],
)
def test_a_missing_checkpoint_to_the_letter(checkpoints: list[str], ending: str) -> None:
    text = explained({"4": {"class_type": "CheckpointLoaderSimple", "errors": [CHECKPOINT]}}, checkpoints)
    assert text == (
        "Workflow validation failed:\n"
        "• Node 4 (CheckpointLoaderSimple) ckpt_name: 'x.safetensors' is not in the list\n\n" + ending
    )


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("cannot open /root/models/a b.bin", "cannot open a b.bin"),
        ("'/dev/shm/comfy-worker-x/output/y.png' is missing", "'y.png' is missing"),
        ("see https://example.com/a/b?c=/d/e", "see https://example.com/a/b?c=/d/e"),
        ("Error:/root/secret/key.bin and file:///etc/secret/x", "Error:key.bin and file://x"),
        ("and/or 1/2 a/b/c", "and/or 1/2 a/b/c"),
        ("key sk-123 refused", "key ******** refused"),
        ("bad \udc80 text", "bad \\udc80 text"),
        ("  spaces \n", "spaces"),
    ],
)
def test_what_a_caller_may_read(text: str, public: str) -> None:
    assert public_text(text, ["sk-123", None, ""]) == public


def test_a_text_has_an_end() -> None:
    assert len(public_text("x" * 1_000_000)) < 2100


def test_many_problems_keep_the_ending() -> None:
    problem = {"type": "custom", "message": "m" * 3000, "details": "", "extra_info": {}}
    text = explained({"4": {"class_type": "X", "errors": [CHECKPOINT, *([problem] * 100)]}}, ["a"])
    assert "• and 76 more" in text
    assert text.endswith("Available checkpoint models: a")
    assert len(text) < 15_000


def test_a_link_to_nowhere_is_named() -> None:
    workflow = {"2": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}}
    raised = {"type": "exception_during_inner_validation", "message": "Exception", "details": "'9'"}
    errors = {"2": {"class_type": "SaveImage", "errors": [raised]}}
    text = explain_rejection({}, errors, workflow, (), Everything([]), Origins())
    assert text == "Workflow validation failed:\n• Node 2 (SaveImage) images: linked to node 9, which is not there"
