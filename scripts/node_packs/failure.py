"""The errors that say why a pack was not installed."""

from __future__ import annotations


class PackFailed(Exception):
    """The pack cannot be installed. The text is one line that says why, and what to do."""

    outcome = "failed"


class PackRefused(PackFailed):
    """The pack is refused, since it would replace packages that ComfyUI needs, or files that a person has changed."""

    outcome = "refused"
