"""A node pack that does what needs the main thread, and finds out which event loops there are while it is imported."""

from __future__ import annotations

from pathlib import Path

PRESTARTUP = """
import asyncio
from pathlib import Path

asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))
asyncio.run(asyncio.sleep(0))
Path("seen").write_text("asyncio was free;")
"""
PACK = """
import asyncio, signal
from pathlib import Path
from server import PromptServer

signal.signal(signal.SIGUSR1, lambda number, frame: None)
is_servers = asyncio.get_running_loop() is PromptServer.instance.loop
with Path("seen").open("a") as file:
    file.write(f" the server's loop: {is_servers}")
NODE_CLASS_MAPPINGS = {}
"""
SEEN = "asyncio was free; the server's loop: True"  # In the file ``seen`` of the working directory.


def base_with_signals(folder: Path, prestartup: str = PRESTARTUP) -> Path:
    """Make a base directory in ``folder`` whose only pack handles a signal: ``base``, and ``handles_signals`` in it."""
    pack = folder / "base" / "custom_nodes" / "handles_signals"
    pack.mkdir(parents=True)
    (pack / "prestartup_script.py").write_text(prestartup)
    (pack / "__init__.py").write_text(PACK)
    return folder / "base"
