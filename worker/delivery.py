"""A result → the answer that the caller of an endpoint gets."""

from __future__ import annotations

import base64
from typing import Any

from worker.errors import JobInterrupted
from worker.outputs import Artifact
from worker.redact import encodable
from worker.result import Result

Answer = dict[str, Any]


def inline_answer(result: Result) -> Answer:
    """The answer with every file as base64.

    Files under a node's ``images`` key are ``images``, all others ``files``; a run that left nothing but errors is a
    failed job.
    """
    images = [_inline(artifact) for artifact in result.artifacts if artifact.key == "images"]
    files = [_inline(artifact) for artifact in result.artifacts if artifact.key != "images"]
    texts = [{"node_id": text.node_id, "text": text.text} for text in result.texts]
    if result.errors and not (images or files or texts):
        if result.status == "interrupted":
            return JobInterrupted().answer()
        return {
            "error": "Job processing failed",
            "details": list(result.errors),
            "error_type": "workflow_execution",
        }
    answer: Answer = {"images": images}
    if not images and not result.errors:
        answer = {"status": "success_no_images", **answer}
    optional = {"files": files, "text": texts, "errors": list(result.errors)}
    return answer | {key: value for key, value in optional.items() if value}


def _inline(artifact: Artifact) -> dict[str, str]:
    return {
        "filename": encodable(artifact.filename),
        "type": "base64",
        "data": base64.b64encode(artifact.read()).decode("ascii"),
        "node_id": artifact.node_id,
        "media_type": artifact.media_type,
    }
