"""Settings of RunPod: the log of its SDK, and the variables that the platform sets.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pydantic import BaseModel, SecretStr

from worker.settings.field import setting
from worker.settings.readers import SdkLogLevel


class RunpodSettings(BaseModel):
    """The log of RunPod's SDK, and the variables that the platform sets."""

    runpod_log_level: SdkLogLevel = setting(
        "WARN", "ERROR, WARN, INFO, DEBUG, TRACE or NOTSET", "How much RunPod's SDK logs."
    )
    public_key: str | None = setting(
        None,
        "a public SSH key",
        "In the container image: start an SSH server that lets the owner of this key in as root.",
    )
    runpod_pod_id: str | None = setting(
        None, "set by RunPod", "Set by the platform. Where it is set, a worker without a CUDA device refuses to start."
    )
    runpod_ai_api_key: SecretStr | None = setting(
        None, "set by RunPod", "Set by the platform: the worker's own key, which the log must not show."
    )
    runpod_webhook_get_job: str | None = setting(
        None, "set by RunPod", "Set by the platform: where the worker takes its jobs."
    )
