"""Combines the settings of all subjects in one class, and reads them from the environment."""

from __future__ import annotations

import os
import shlex

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import SettingsError
from worker.redact import masked_url
from worker.settings.bucket import BucketSettings
from worker.settings.comfyui import ComfyUiSettings
from worker.settings.images import ImageSettings
from worker.settings.jobs import JobSettings
from worker.settings.local_api import LocalApiSettings
from worker.settings.runpod import RunpodSettings
from worker.settings.serving import ServingSettings
from worker.settings.volume import VolumeSettings


class Settings(
    # In reverse order, since pydantic takes the fields of the last class first.
    RunpodSettings,
    LocalApiSettings,
    ServingSettings,
    BucketSettings,
    VolumeSettings,
    JobSettings,
    ImageSettings,
    ComfyUiSettings,
    BaseSettings,
):
    """The worker's settings. An empty variable counts as not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, enable_decoding=False)

    def quiet(self) -> Settings:
        """A copy for use at a terminal or from Python: ComfyUI logs at WARNING, unless its level was set."""
        if "comfy_log_level" in self.model_fields_set:
            return self
        return self.model_copy(update={"comfy_log_level": "WARNING"})

    def secrets(self) -> tuple[str, ...]:
        """The values of all secret settings that are set."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))

    def documented(self) -> list[tuple[str, str, str]]:
        """``(variable, value, description)`` of every setting. Secrets are masked."""
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
    return shlex.join(value) if isinstance(value, tuple) else masked_url(str(value))


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable cannot be read. One line names each such variable, its value, and what it takes.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(str(problem["loc"][0])) for problem in error.errors())) from None


def _explain(name: str) -> str:
    variable, extra = name.upper(), Settings.model_fields[name.lower()].json_schema_extra
    takes = extra["takes"] if isinstance(extra, dict) else "another value"
    given = masked_url(os.environ.get(variable, ""))[:80]
    return f"{variable}={given!r} cannot be read: it takes {takes}"
