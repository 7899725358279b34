"""Runs a ComfyUI workflow on an endpoint, with RunPod's SDK, and saves what comes back."""

from __future__ import annotations

import sys
import time
from typing import Any

import requests
import runpod
from files import API_KEY, ENDPOINT_URL, FINAL, finish, read_arguments, reason, show


def main() -> int:
    """Run it; returns the exit code: 0, 1 if there is no result, 2 for wrong arguments, 130 for Ctrl-C."""
    job_input, folder = read_arguments(__doc__)
    runpod.endpoint_url_base, _, endpoint_id = ENDPOINT_URL.rpartition("/")
    endpoint = runpod.Endpoint(endpoint_id, api_key=API_KEY)
    try:
        return finish(run(endpoint, job_input), folder)
    except (requests.RequestException, RuntimeError) as error:  # RuntimeError: the API key is wrong.
        print(f"{ENDPOINT_URL}: {reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(endpoint: runpod.Endpoint, job_input: dict[str, Any]) -> dict[str, Any]:
    """Send the job, and follow it to its end; Ctrl-C stops it."""
    job = endpoint.run({"input": job_input})
    try:
        while True:
            # job.status() and job.output() do not return the progress or the error.
            state: dict[str, Any] = endpoint.rp_client.get(f"{endpoint.endpoint_id}/status/{job.job_id}")
            if state["status"] in FINAL:
                return state
            show(state)
            time.sleep(1)
    except KeyboardInterrupt:
        job.cancel()
        raise


if __name__ == "__main__":
    sys.exit(main())
