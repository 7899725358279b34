"""Why a pack was not installed."""

from __future__ import annotations


class PackFailed(Exception):
    """The pack cannot be installed; the text is one line that says why, and what to do."""

    outcome = "failed"


class PackRefused(PackFailed):
    """The pack could be installed only by replacing what ComfyUI needs, or what a person has changed."""

    outcome = "refused"
