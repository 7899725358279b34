"""Settings of the images that workflows save.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pydantic import BaseModel

from worker.settings.field import setting
from worker.settings.readers import Boolean, OutputFormat


class ImageSettings(BaseModel):
    """Format, quality and metadata of saved images."""

    save_metadata: Boolean = setting(
        False,
        "true or false",
        "Write the workflow into saved files. Off by default: a file then tells nothing of how it was made.",
    )
    output_format: OutputFormat = setting(
        "png", "png, webp or jpeg", "Format of the images that workflows save, where a request names none."
    )
    output_quality: int = setting(
        90, "a whole number from 1 to 100", "Quality of WebP and JPEG, where a request names none.", ge=1, le=100
    )
