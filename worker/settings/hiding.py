"""Takes secrets out of the environment, so that no node and no program that a node starts finds them there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import posix
import re
from pathlib import Path

from pydantic import SecretStr

from worker.settings.settings import Settings, load_settings

_PLATFORMS_SECRET = re.compile(r"RUNPOD_.*(KEY|TOKEN|SECRET|PASSWORD)")
_FOR_PACKS = ("HF_TOKEN", "CIVITAI_TOKEN")  # Packs that download models have always found them.
_ENV_START = 47  # In /proc/self/stat, counted from the state on. The next one is the end.


def take_settings() -> Settings:
    """Read the environment, and take the worker's secrets out of it. Call it in processes that are the worker's own.

    They leave ``os.environ``, the environment of programs that are started later, and ``/proc/<pid>/environ`` of this
    process and of those that it forks. Other variables stay, since node packs read them, unless ``HIDE_ENV`` names
    them.

    Raises:
        SettingsError: a variable cannot be read.
    """
    settings = load_settings()
    names = [name for name in os.environ if _is_hidden(name, settings.hide_env)]
    for name in names:
        del os.environ[name]
        posix.environ.pop(name.encode(), None)  # What Python found at its start.
    _overwrite({os.fsencode(name) for name in names})
    return settings


def _is_hidden(name: str, further: tuple[str, ...]) -> bool:
    if name in further:
        return True
    upper = name.upper()  # Settings are read in any case.
    if upper in _FOR_PACKS:
        return False
    field = Settings.model_fields.get(upper.lower())
    is_secret = field is not None and SecretStr in getattr(field.annotation, "__args__", ())
    return is_secret or upper.startswith("BUCKET_") or _PLATFORMS_SECRET.fullmatch(upper) is not None


def _overwrite(names: set[bytes]) -> None:
    """Overwrite variables in the block that the kernel shows as ``environ``. It is the one that the process began with.

    ``unsetenv`` removes only the pointer to it.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_START + 1])
        if not 0 < start < end:
            return
        place = start
        for entry in ctypes.string_at(start, end - start).split(b"\0"):
            if entry.partition(b"=")[0] in names:
                ctypes.memset(place, 0, len(entry))
            place += len(entry) + 1
