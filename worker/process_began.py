"""When a process or a thread started."""

from __future__ import annotations

import os
from pathlib import Path


def process_began(pid: int) -> float:
    """Seconds from the start of the machine (``CLOCK_BOOTTIME``) to that of a process or thread, to a hundredth.

    0 if it has ended, or the system does not tell. psutil tells it by the clock, which may be set anew.
    """
    try:
        # The name of the program comes first, in parentheses, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
