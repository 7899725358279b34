"""Runs moto's S3 server until the benchmark ends: ``python -m bench.contenders.s3``."""

from __future__ import annotations

import signal
import time

from s3_server import client, s3_server

from bench.contenders.pipe import Pipe, die_with_parent


def main() -> None:
    """Send the address to the benchmark, and serve until it ends."""
    die_with_parent(signal.SIGKILL)
    pipe = Pipe()
    with s3_server() as url:
        client(url).create_bucket(Bucket=time.strftime("%m-%y"))  # RunPod's uploader uses a bucket of this name.
        pipe.send({"url": url})
        pipe.receive()


if __name__ == "__main__":
    main()
