"""Bounds the time that ComfyUI takes to read the weights in a prompt, such as ``(word:1.2)``.

ComfyUI reads a prompt again for each pair of parentheses inside of another pair. So a long prompt in many parentheses
takes minutes, in which no interrupt has an effect.
"""

from __future__ import annotations

import itertools
from typing import Any

SHORT_PROMPT = 10_000  # Characters, for which ComfyUI is quick with any parentheses.
DEEPEST = 50  # Pairs of parentheses inside of each other, in a longer prompt.


class PromptRefused(ValueError):
    """A prompt has too many parentheses inside of each other."""


def guard_prompt_weights(sd1_clip: Any) -> None:
    """Let ``sd1_clip.token_weights``, of ComfyUI's module, refuse a prompt that would take too long."""
    token_weights = sd1_clip.token_weights

    def bounded(string: str, current_weight: float) -> Any:
        if len(string) > SHORT_PROMPT and (depth := _depth(string)) > DEEPEST:
            raise PromptRefused(
                f"The prompt has {depth:,} pairs of parentheses inside of each other; a prompt of more than "
                f"{SHORT_PROMPT:,} characters may have {DEEPEST}"
            )
        return token_weights(string, current_weight)

    sd1_clip.token_weights = bounded


def _depth(text: str) -> int:
    steps = (1 if letter == "(" else -1 for letter in text if letter in "()")
    return max(itertools.accumulate(steps), default=0)
