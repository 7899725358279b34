"""Settings of the workflows that requests run by name.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pydantic import BaseModel

from worker.settings.field import setting
from worker.settings.readers import AbsolutePath, Boolean


class WorkflowSettings(BaseModel):
    """Where these workflows are, and whether requests may bring others."""

    workflows_dir: AbsolutePath | None = setting(
        None,
        "a folder",
        "Workflow files that requests run by name: `portrait.json` is `\"workflow\": \"portrait\"`. Those in "
        "`workflows/` of the network volume have names as well; where both have a name, this folder's file runs.",
    )
    workflows_only: Boolean = setting(
        False,
        "true or false",
        "Run workflows by name alone, and refuse requests that bring a graph.",
    )
