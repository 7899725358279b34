"""``python -m worker editor``: starts ComfyUI with its own page in place of the worker."""

from __future__ import annotations

import argparse
import sys

from worker.editor.start import Listen, start_editor
from worker.events import Notice
from worker.settings import take_settings


def editor(options: argparse.Namespace) -> int:
    """Become ComfyUI, whose exit code is then the process's own.

    Raises:
        StartError: ``worker.__main__`` prints it.
    """
    settings = take_settings()
    if "comfy_log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"comfy_log_level": "INFO"})  # As ComfyUI's own default.
    start_editor(settings, Listen(options.listen, options.port), _say)


def _say(notice: Notice) -> None:
    print(f"worker: {notice}", file=sys.stderr)
