"""An S3 server (moto's), which ends with the benchmark: ``python -m bench.contenders.s3``."""

from __future__ import annotations

import signal
import time

from s3_server import client, s3_server

from bench.contenders.pipe import Pipe, die_with_parent


def main() -> None:
    """Tell the address, and serve until the benchmark ends."""
    die_with_parent(signal.SIGKILL)
    pipe = Pipe()
    with s3_server() as url:
        client(url).create_bucket(Bucket=time.strftime("%m-%y"))  # RunPod's uploader takes this name.
        pipe.send({"url": url})
        pipe.receive()


if __name__ == "__main__":
    main()
