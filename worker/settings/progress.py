"""Settings of what callers see of a job that runs.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from worker.settings.field import setting
from worker.settings.readers import Boolean


def _interval(seconds: float) -> float:
    if seconds and seconds < 0.1:
        raise ValueError("too short")
    return seconds


_Interval = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False), AfterValidator(_interval)]


class ProgressSettings(BaseModel):
    """How often progress is reported, and whether it has previews."""

    progress_interval_s: _Interval = setting(
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
