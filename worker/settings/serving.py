"""Settings of how the worker takes jobs, and what it tells of them.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pydantic import BaseModel

from worker.settings.field import setting
from worker.settings.readers import Boolean, CommaList, Interval, ReportMetrics


class ServingSettings(BaseModel):
    """Where jobs come from, how many are held at once, what is told of them, and what follows each of them."""

    refresh_worker: Boolean = setting(
        False, "true or false", "On RunPod: stop the pod after each job, so that the next one finds a clean worker."
    )
    worker_concurrency: int = setting(
        1,
        "a whole number above 0",
        "Jobs held at once. With 2, the files of one job come in and go out while another is on the GPU, on which "
        "there is one at a time.",
        gt=0,
        le=64,
    )
    serve_api_locally: Boolean = setting(
        False, "true or false", "Serve RunPod's API on this machine, instead of taking jobs from the platform."
    )
    hide_env: CommaList = setting(
        (),
        "names of environment variables with commas between them",
        "Variables that nodes must not see. The worker removes them from its environment when it has read its "
        "settings, as it does with its own keys.",
    )
    report_metrics: ReportMetrics = setting(
        "on",
        "off, on or full",
        "Whether answers have `metrics`: how long each part of the job took, each node among them, and what it used. "
        "`full`: also cost, memory of the process, and versions.",
    )
    gpu_price_per_hour: float | None = setting(
        None,
        "a number, 0 or above",
        "What an hour of this worker costs, in the currency of your choice. Then the log has the cost of each job's "
        "GPU seconds, as have `/metrics`, and answers with `REPORT_METRICS=full`.",
        ge=0,
        allow_inf_nan=False,
    )
    metrics_port: int = setting(
        0,
        "a port number",
        "Where Prometheus reads `/metrics` of a worker that serves RunPod. The local API has it at its own port. 0: "
        "nowhere.",
        ge=0,
        le=65535,
    )
    progress_interval_s: Interval = setting(
        1.0,
        "0, or a number from 0.1 to 3600",
        "Seconds between two reports of a job's progress to RunPod, and between two previews. 0 turns progress off, "
        "also in `/status`.",
    )
    progress_previews: Boolean = setting(
        False,
        "true or false",
        "Add previews of the picture that a sampler makes to the progress, as JPEGs of at most 512 × 512 pixels and "
        "32 KB.",
    )
