"""Reads the outcome of a prompt from its entry in a server's history."""

from __future__ import annotations

from typing import Any

from worker.protocol.prompt_outcome import PromptOutcome, outcome_of

ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


def outcome_in_history(prompt_id: str, entry: dict[str, Any]) -> PromptOutcome:
    """Read an entry of ``/history``. Parts of an unexpected shape are left out."""
    history = {name: _dicts(entry.get(name)) for name in ("outputs", "meta")}
    status = entry["status"] if isinstance(entry.get("status"), dict) else {}
    messages = status["messages"] if isinstance(status.get("messages"), list) else []
    pairs = [each for each in messages if isinstance(each, list) and len(each) == 2 and isinstance(each[1], dict)]
    endings = [each for each in pairs if each[0] in ENDINGS]
    if not endings:
        endings = [["execution_success" if status.get("status_str") != "error" else "execution_error", {}]]
    return outcome_of(prompt_id, history, endings)


def _dicts(value: object) -> dict[str, Any]:
    return {key: each for key, each in value.items() if isinstance(each, dict)} if isinstance(value, dict) else {}
