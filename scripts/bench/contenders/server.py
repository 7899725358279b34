"""Runs a stock ComfyUI server until the benchmark ends: ``python -m bench.contenders.server BASE PORT FLAG…``."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from comfy_server import ComfyServer

from bench.contenders.pipe import Pipe, die_with_parent


def main() -> None:
    """Report to the benchmark, start the server when told to, and end it when the benchmark ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    die_with_parent(signal.SIGTERM)
    pipe = Pipe()
    base, port, *flags = sys.argv[1:]
    server = ComfyServer(Path(base), flags, int(port))
    try:
        server.link_inputs()
        pipe.send({})
        if pipe.receive() is None:
            return
        server.start()
        pipe.send({"pid": server.process.pid if server.process else 0})
        try:
            server.wait()
        except RuntimeError as error:
            pipe.send({"error": str(error).splitlines()[-1]})
            return
        pipe.send({"up": time.monotonic()})
        pipe.receive()
    finally:
        server.close()


if __name__ == "__main__":
    main()
