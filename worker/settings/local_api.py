"""Settings of the local API.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pydantic import BaseModel, SecretStr

from worker.settings.field import setting
from worker.settings.readers import Boolean, CommaList


class LocalApiSettings(BaseModel):
    """Where the local API listens, who may use it, and how much it takes and keeps."""

    local_api_host: str = setting(
        "127.0.0.1",
        "an address of this machine",
        "Where the local API listens. `0.0.0.0` stands for all addresses of this machine; the image sets it.",
    )
    local_api_port: int = setting(8000, "a port number", "Where the local API listens; 0 takes any.", ge=0, le=65535)
    local_api_token: SecretStr | None = setting(
        None, "a secret of your choice", "Where set, the local API answers only requests that bear this token."
    )
    local_api_hosts: CommaList = setting(
        (),
        "host names with commas between them",
        "Further names under which the local API is reached, such as `gpu.example.com`; `*.example.com` stands for "
        "all below it. Addresses and names without a dot need no entry.",
    )
    local_api_max_request_mb: float | None = setting(
        None,
        "a number above 0",
        "Largest request to the local API, in MB. Default: RunPod's limits, 10 for `/run` and 20 for `/runsync`.",
        gt=0,
        allow_inf_nan=False,
    )
    local_api_results_mb: float = setting(
        1024.0,
        "a number above 0",
        "Results that the local API keeps for later requests, in MB together; the oldest go first.",
        gt=0,
        allow_inf_nan=False,
    )
    local_api_page: Boolean = setting(
        True,
        "true or false",
        "Whether browsers get a page at `/` on which workflows can be tried. Otherwise they get the documentation.",
    )
