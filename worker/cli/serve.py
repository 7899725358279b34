"""``python -m worker serve``: serves RunPod or the local API, or runs one test job."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path
from typing import Any

from worker.bucket.bucket import configured_bucket
from worker.cli.ending import end_process
from worker.cli.exit_code import ExitCode
from worker.errors import BackendFailed, InvalidJob, StartError
from worker.handler import make_handler
from worker.logs import set_up_logging
from worker.settings import Settings, take_settings
from worker.start_steps import STEPS
from worker.worker import Worker

_log = logging.getLogger("worker")
_TEST_INPUT = Path("test_input.json")
_SHOWN_LENGTH = 200


def serve(options: argparse.Namespace) -> int:
    """Serve as the settings and ``options`` say. Returns the exit code.

    Raises:
        InvalidJob, StartError: ``worker.__main__`` prints them.
    """
    settings = _settings(options)
    on_platform = settings.runpod_webhook_get_job is not None
    local = settings.serve_api_locally
    test = None if local else _test_job(options.test_input, on_platform=on_platform)
    configured_bucket(settings)  # Raises if the bucket's settings are wrong, before ComfyUI starts.
    set_up_logging(settings, as_json=on_platform and not local and test is None)
    signal.signal(signal.SIGTERM, _end_start)
    if test is not None:
        return _run_test(settings, test)
    try:
        if local:
            from worker.local_api.serve import serve_local

            serve_local(settings)
        else:
            with STEPS.step("sdk"):
                from worker.runpod.serve import serve_runpod

            serve_runpod(settings)
    except StartError as error:
        if not on_platform:
            raise
        _log.critical("The worker cannot start: %s", error)  # RunPod shows only the log.
        return end_process(ExitCode.CANNOT_START)
    except BackendFailed as error:
        _log.error("%s", error)
        return end_process(ExitCode.FAILED, may_hang=error.device_is_broken)
    return end_process(ExitCode.WORKED)


def _end_start(number: int, _frame: object) -> None:
    """Handle SIGTERM until a loop does. Process 1 needs a handler, and an exception could be caught by an import."""
    end_process(128 + number)


def _settings(options: argparse.Namespace) -> Settings:
    given = {
        "serve_api_locally": options.rp_serve_api or None,
        "local_api_host": options.rp_api_host,
        "local_api_port": options.rp_api_port,
        "runpod_log_level": options.rp_log_level,
    }
    return take_settings().model_copy(update={name: value for name, value in given.items() if value is not None})


def _test_job(text: str | None, *, on_platform: bool) -> dict[str, Any] | None:
    """The one job to run instead of serving, from ``--test_input`` or ``test_input.json`` as with RunPod's SDK."""
    source = "--test_input"
    if text is None:
        if on_platform:
            return None
        source = str(_TEST_INPUT)
        try:
            text = _TEST_INPUT.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise StartError(
                "There is nothing to serve: set SERVE_API_LOCALLY=true for the local API, or give one job with "
                "--test_input or in test_input.json. (RunPod sets RUNPOD_WEBHOOK_GET_JOB; it is not set here.)"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidJob(f"{source} cannot be read: {error}") from None
    try:
        job = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"{source} is no JSON: {error}") from None
    if not isinstance(job, dict) or job.get("input") is None:
        raise InvalidJob(f"{source} must be an object with an 'input', as RunPod sends it")
    return {"id": "local_test", **job}


def _run_test(settings: Settings, job: dict[str, Any]) -> int:
    with Worker(settings) as worker:
        answer = asyncio.run(make_handler(worker)(job))
    print(json.dumps(_shortened(answer), indent=2))
    return ExitCode.FAILED if "error" in answer else ExitCode.WORKED


def _shortened(value: Any) -> Any:
    """``value`` with its long texts cut, so that people can read it."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > _SHOWN_LENGTH:
        return f"{value[:40]}… ({len(value)} characters)"
    return value
