"""Every environment variable that the worker reads: type, default, meaning. Nothing else reads the environment."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import SettingsError
from worker.images.formats import FormatName

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
SdkLogLevel = Literal["NOTSET", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"]


def _boolean(value: object) -> object:
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError("not a boolean")
    return text == "true"


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _format_name(value: object) -> object:
    name = value.strip().lower() if isinstance(value, str) else value
    return "jpeg" if name == "jpg" else name


def _split_flags(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_HOST = re.compile(r"(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")


def _server_address(value: object) -> object:
    text = str(value).strip()
    if not text.isprintable() or " " in text:  # urlsplit would leave them out.
        raise ValueError("not an address")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in ("http", "https") or extras or parts.port == 0:  # port may raise.
        raise ValueError("not an address")
    if not _HOST.fullmatch(parts.hostname or "") or max(map(len, (parts.hostname or "").split("."))) > 63:
        raise ValueError("not a host")
    return text.rstrip("/")


Boolean = Annotated[bool, BeforeValidator(_boolean)]


def _setting(default: Any, takes: str, description: str, **limits: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"takes": takes}, **limits)


class Settings(BaseSettings):
    """The worker's settings. An empty variable counts as not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, enable_decoding=False)

    comfy_log_level: Annotated[LogLevel, BeforeValidator(_upper)] = _setting(
        "DEBUG",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        "How much ComfyUI and its nodes log. `run`, `check` and the Python class use WARNING unless it is set.",
    )
    comfy_org_api_key: SecretStr | None = _setting(
        None,
        "a Comfy.org API key",
        "Key for ComfyUI's API nodes, sent with every workflow; a request's own `comfy_org_api_key` wins.",
    )
    comfy_backend: Literal["embedded", "websocket"] = _setting(
        "embedded",
        "embedded or websocket",
        "`embedded` runs ComfyUI in this process; `websocket` runs jobs on the ComfyUI server at `COMFY_HOST`.",
    )
    comfy_host: Annotated[str, BeforeValidator(_server_address)] = _setting(
        "127.0.0.1:8188",
        "host:port, or http(s)://host:port",
        "The ComfyUI server of `COMFY_BACKEND=websocket`.",
    )
    websocket_reconnect_attempts: int = _setting(
        5,
        "a whole number, 0 or above",
        "How often to connect again when the connection drops while a workflow runs; 0 gives up at once.",
        ge=0,
    )
    websocket_reconnect_delay_s: float = _setting(
        3.0, "a number, 0 or above", "Seconds between these attempts.", ge=0, allow_inf_nan=False
    )
    websocket_trace: Boolean = _setting(
        False, "true or false", "Log every frame of the websocket, to diagnose the connection."
    )
    comfy_api_available_interval_ms: int = _setting(
        50, "a whole number above 0", "Milliseconds between attempts to reach a server that does not answer.", gt=0
    )
    comfy_api_available_max_retries: int = _setting(
        0,
        "a whole number, 0 or above",
        "Attempts to reach a server that does not answer. 0: at the start for as long as it takes, with a job for "
        "two minutes.",
        ge=0,
    )
    comfyui_path: Path | None = _setting(
        None,
        "a folder that holds ComfyUI's main.py",
        "The ComfyUI tree to run, instead of `vendor/ComfyUI` or the packaged copy.",
    )
    comfy_base_dir: Path | None = _setting(
        None,
        "a folder",
        "Where `models/`, `custom_nodes/` and the static `input/` are read from. Default: the ComfyUI tree, "
        "or `comfy_base/` in the project for the packaged copy.",
    )
    comfy_args: Annotated[tuple[str, ...], BeforeValidator(_split_flags)] = _setting(
        (),
        "ComfyUI's command line flags, quoted as in a shell",
        "Further flags for ComfyUI, for example `--highvram --fast`.",
    )
    save_metadata: Boolean = _setting(
        False,
        "true or false",
        "Write the workflow into saved files. Off by default: a file then tells nothing of how it was made.",
    )
    output_format: Annotated[FormatName, BeforeValidator(_format_name)] = _setting(
        "png", "png, webp or jpeg", "Format of the images that workflows save, where a request names none."
    )
    output_quality: int = _setting(
        90, "a whole number from 1 to 100", "Quality of WebP and JPEG, where a request names none.", ge=1, le=100
    )
    worker_state_dir: Path | None = _setting(
        None,
        "a folder that can be written",
        "Where ComfyUI's input, output, temp and user folders and the jobs' own folders are made, and removed at the "
        "end. Default: `/dev/shm` with at least 2 GiB free, otherwise the system's temporary folder.",
    )
    max_input_mb: float = _setting(
        100.0, "a number above 0", "Largest size of one input file, in MB, decoded.", gt=0, allow_inf_nan=False
    )
    max_image_pixels: int = _setting(
        178_956_970, "a whole number above 0", "Most pixels one input image may have, all its frames together.", gt=0
    )
    max_response_mb: float | None = _setting(
        None,
        "a number above 0",
        "Largest answer, in MB. Default: what RunPod takes, 20 for jobs of `/runsync` and 10 for others; the local "
        "server has no limit.",
        gt=0,
        allow_inf_nan=False,
    )
    input_urls: Literal["public", "off"] = _setting(
        "public",
        "public or off",
        "Whether `images` may be given as URLs: of public addresses alone, or not at all.",
    )
    warmup_workflow: Path | None = _setting(
        None,
        "an API-format workflow's file",
        "A workflow that is run once before the first job is taken, so that its models are loaded by then.",
    )
    job_timeout_s: float = _setting(
        0.0,
        "a number, 0 or above",
        "Seconds that a job may run, once it has its turn; then it is interrupted, and what it has finished is sent. A "
        "request's own `timeout_s` may be shorter. 0: no limit.",
        ge=0,
        allow_inf_nan=False,
    )
    job_stall_timeout_s: float = _setting(
        0.0,
        "a number, 0 or above",
        "Seconds after which a job counts as hung and is interrupted: it reports nothing, computes nothing, and waits "
        "for no file and no network. 0: never.",
        ge=0,
        allow_inf_nan=False,
    )
    max_rss_mb: float = _setting(
        0.0,
        "a number, 0 or above",
        "Host memory of the process, in MB, above which models and caches are freed between jobs; where that is not "
        "enough, a worker on RunPod takes no more jobs and ends, to be started anew. 0: no limit.",
        ge=0,
        allow_inf_nan=False,
    )
    node_allowlist: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = _setting(
        (),
        "names of node classes with commas between them",
        "Node classes that workflows may use, and no others; `*` stands for any text: `Load*,SaveImage`. Empty: all.",
    )
    node_denylist: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = _setting(
        (),
        "names of node classes with commas between them",
        "Node classes that workflows may not use, whatever `NODE_ALLOWLIST` says; `*` stands for any text.",
    )
    network_volume_path: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] = _setting(
        Path("/runpod-volume"),
        "a folder",
        "Where the network volume is mounted: ComfyUI reads every kind of model from its `models/` as well.",
    )
    network_volume_debug: Boolean = _setting(
        False,
        "true or false",
        "Log what lies on the network volume and what ComfyUI finds of it: at the start, and with each job that "
        "misses a model.",
    )
    volume_custom_nodes: Boolean = _setting(
        False, "true or false", "Load the node packs in `custom_nodes/` of the network volume as well."
    )
    bucket_endpoint_url: str | None = _setting(
        None,
        "an address such as https://my-bucket.s3.eu-west-1.amazonaws.com",
        "Send files to this S3 bucket instead of into the answer.",
    )
    bucket_access_key_id: SecretStr | None = _setting(None, "an access key id", "Key id for the bucket.")
    bucket_secret_access_key: SecretStr | None = _setting(None, "a secret access key", "Secret key for the bucket.")
    bucket_name: str | None = _setting(
        None, "a bucket's name", "The bucket, where `BUCKET_ENDPOINT_URL` does not name it."
    )
    bucket_region: str | None = _setting(
        None, "a region's name", "The bucket's region, where `BUCKET_ENDPOINT_URL` does not name it."
    )
    bucket_prefix: str | None = _setting(None, "a folder in the bucket", "Files go below this folder.")
    bucket_url_expiry_s: int = _setting(
        604_800,
        "a whole number from 1 to 604800",
        "How long the presigned URLs are valid, in seconds.",
        ge=1,
        le=604_800,
    )
    bucket_uploader: Literal["worker", "runpod"] = _setting(
        "worker",
        "worker or runpod",
        "`runpod` uploads with the `rp_upload.upload_image` of RunPod's SDK, into the folders that it makes up.",
    )
    refresh_worker: Boolean = _setting(
        False, "true or false", "On RunPod: stop the pod after each job, so that the next one finds a clean worker."
    )
    worker_concurrency: int = _setting(
        1,
        "a whole number above 0",
        "Jobs held at once. With 2, the files of one job come in and go out while another is on the GPU, on which "
        "there is one at a time.",
        gt=0,
        le=64,
    )
    serve_api_locally: Boolean = _setting(
        False, "true or false", "Serve RunPod's API on this machine, instead of taking jobs from the platform."
    )
    local_api_host: str = _setting("0.0.0.0", "an address of this machine", "Where the local API listens.")  # noqa: S104 - as documented.
    local_api_port: int = _setting(8000, "a port number", "Where the local API listens; 0 takes any.", ge=0, le=65535)
    local_api_token: SecretStr | None = _setting(
        None, "a secret of your choice", "Where set, the local API answers only requests that bear this token."
    )
    local_api_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = _setting(
        (),
        "host names with commas between them",
        "Further names under which the local API is reached, such as `gpu.example.com`; `*.example.com` stands for "
        "all below it. Addresses and names without a dot need no entry.",
    )
    local_api_max_request_mb: float | None = _setting(
        None,
        "a number above 0",
        "Largest request to the local API, in MB. Default: RunPod's limits, 10 for `/run` and 20 for `/runsync`.",
        gt=0,
        allow_inf_nan=False,
    )
    local_api_results_mb: float = _setting(
        1024.0,
        "a number above 0",
        "Results that the local API keeps for later requests, in MB together; the oldest go first.",
        gt=0,
        allow_inf_nan=False,
    )
    runpod_log_level: Annotated[SdkLogLevel, BeforeValidator(_upper)] = _setting(
        "WARN", "ERROR, WARN, INFO, DEBUG, TRACE or NOTSET", "How much RunPod's SDK logs."
    )
    public_key: str | None = _setting(
        None,
        "a public SSH key",
        "In the container image: start an SSH server that lets the owner of this key in as root.",
    )
    runpod_pod_id: str | None = _setting(
        None, "set by RunPod", "Set by the platform. Where it is set, a worker without a CUDA device refuses to start."
    )
    runpod_ai_api_key: SecretStr | None = _setting(
        None, "set by RunPod", "Set by the platform: the worker's own key, which the log must not show."
    )
    runpod_webhook_get_job: str | None = _setting(
        None, "set by RunPod", "Set by the platform: where the worker takes its jobs."
    )

    def quiet(self) -> Settings:
        """These settings for use at a terminal or from Python: ComfyUI logs at WARNING, unless its level was set."""
        if "comfy_log_level" in self.model_fields_set:
            return self
        return self.model_copy(update={"comfy_log_level": "WARNING"})

    def secrets(self) -> tuple[str, ...]:
        """The values of all secret settings that are set."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))

    def documented(self) -> list[tuple[str, str, str]]:
        """``(variable, value, description)`` of every setting; secrets are masked."""
        return [
            (name.upper(), _shown(getattr(self, name)), field.description or "")
            for name, field in type(self).model_fields.items()
        ]


def _shown(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return str(value).lower()
    return shlex.join(value) if isinstance(value, tuple) else str(value)


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: one line that names each variable that cannot be read, what it holds and what it takes.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(str(problem["loc"][0])) for problem in error.errors())) from None


def _explain(name: str) -> str:
    variable, extra = name.upper(), Settings.model_fields[name.lower()].json_schema_extra
    takes = extra["takes"] if isinstance(extra, dict) else "another value"
    given = re.sub(r"//[^/@]*@", "//********@", os.environ.get(variable, "")[:80])
    return f"{variable}={given!r} cannot be read: it takes {takes}"
