"""Runs a ComfyUI workflow on an endpoint, with plain HTTP requests, and saves what comes back."""

from __future__ import annotations

import sys
import time
from typing import Any

import requests
from files import API_KEY, ENDPOINT_URL, FINAL, finish, read_arguments, reason, show
from requests.adapters import HTTPAdapter
from urllib3.util import Retry


def main() -> int:
    """Run it; returns the exit code: 0, 1 if there is no result, 2 for wrong arguments, 130 for Ctrl-C."""
    job_input, folder = read_arguments(__doc__)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {API_KEY}"
    retries = Retry(3, backoff_factor=0.5, status_forcelist=[429, 502, 503, 504], allowed_methods=["GET"])
    session.mount(ENDPOINT_URL, HTTPAdapter(max_retries=retries))
    try:
        return finish(run(session, job_input), folder)
    except requests.RequestException as error:
        print(f"{ENDPOINT_URL}: {reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(session: requests.Session, job_input: dict[str, Any]) -> dict[str, Any]:
    """Send the job, and follow it to its end; Ctrl-C stops it."""
    job = call(session, "POST", "run", json={"input": job_input})
    try:
        while job["status"] not in FINAL:
            show(job)
            time.sleep(1)
            job = call(session, "GET", f"status/{job['id']}")
    except KeyboardInterrupt:
        call(session, "POST", f"cancel/{job['id']}")
        raise
    return job


def call(session: requests.Session, method: str, path: str, **content: Any) -> dict[str, Any]:
    """One request; its answer."""
    response = session.request(method, f"{ENDPOINT_URL}/{path}", timeout=60, **content)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


if __name__ == "__main__":
    sys.exit(main())
