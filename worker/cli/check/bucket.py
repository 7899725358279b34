"""``python -m worker check --bucket``: prints what is understood of the bucket, and tries it with a small object."""

from __future__ import annotations

from rich.console import Console

from worker.bucket.bucket import configured_bucket
from worker.bucket.trial import BucketTarget, Target, try_bucket
from worker.cli.exit_code import ExitCode
from worker.errors import StartError
from worker.redact import masked_url
from worker.settings import Settings, take_settings


def check_bucket() -> int:
    """Try the bucket. The exit code says whether jobs can store their files, and callers can fetch them.

    Raises:
        StartError: no bucket is set, or its settings do not fit together.
    """
    console = Console(highlight=False, soft_wrap=True)
    settings = take_settings()
    if settings.bucket_endpoint_url is None:
        raise StartError("There is no bucket to check: BUCKET_ENDPOINT_URL is not set")
    print_bucket(console, settings)
    worked = True
    console.print()
    for step in try_bucket(_target(settings)):
        if not step.problem:
            console.print(f"A small object was {step.action}", style="green")
        elif step.is_needed:
            worked = False
            console.print(f"A small object was not {step.action}: {step.problem}", style="bold red", markup=False)
        else:
            console.print(f"warning: it was not {step.action}: {step.problem}", style="dim", markup=False)
            console.print("The worker does not need this. The object stays in the bucket.", style="dim")
    if not worked:
        console.print("The bucket cannot be used", style="bold red")
        return ExitCode.FAILED
    console.print("The bucket can be used", style="bold green")
    return ExitCode.WORKED


def print_bucket(console: Console, settings: Settings) -> None:
    """Print what is understood of the bucket, without its keys; nothing if none is set.

    Raises:
        SettingsError: the settings of the bucket do not fit together.
    """
    bucket = configured_bucket(settings)
    if settings.bucket_endpoint_url is None:
        return
    if bucket is None:
        facts = {
            "Bucket": "RunPod's SDK chooses it: the month, as MM-YY",
            "Endpoint": masked_url(settings.bucket_endpoint_url),
        }
    else:
        address = bucket.address
        is_guess = not (address.provider or settings.bucket_region)
        facts = {
            "Bucket": f"{address.name}, in {address.provider or 'a service that is not known'}",
            "Endpoint": address.endpoint,
            "Region": address.region + (" (a guess; BUCKET_REGION sets it)" if is_guess else ""),
            "Addressing": f"{address.style}; URLs begin with {address.url}/",
            "Key prefix": f"{bucket.prefix}/" if bucket.prefix else "none",
        }
    console.print()
    for name, text in facts.items():
        console.print(f"{name + ':':<16}{text}", markup=False)


def _target(settings: Settings) -> Target:
    bucket = configured_bucket(settings)
    if bucket is not None:
        return BucketTarget(bucket)
    from worker.bucket.sdk_uploads import SdkTarget

    return SdkTarget(settings)
