"""Declares a setting: its default, its description, and which values it takes."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def setting(default: Any, takes: str, description: str, **limits: Any) -> Any:
    """Declare a setting; its environment variable has the field's name in upper case.

    Args:
        default: its value while the variable is not set.
        takes: which values it accepts. Error messages and docs/configuration.md show it.
        description: what it is for, as in docs/configuration.md. That page moves the part after " Default: " to the
            column of defaults, and lists a variable as the platform's if the text begins with "Set by the platform".
        limits: pydantic's, such as ``ge``.
    """
    return Field(default=default, description=description, json_schema_extra={"takes": takes}, **limits)
