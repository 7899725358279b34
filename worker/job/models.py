"""Checks the ``models`` of a request: model files that the job brings by their addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worker.errors import FetchFailed, InvalidJob
from worker.fetch.address import checked_address
from worker.fetch.model_names import BadName, name_parts
from worker.job.job import OfferedModel
from worker.job.shown import kind, quoted

MOST_MODELS = 64
_SHAPE = "'models' must be a list of objects with 'name', 'url' and 'directory' keys"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def parse_models(given: object) -> tuple[OfferedModel, ...]:
    """Check the ``models`` of a request: ``[{name, url, directory, sha256?}]``. Further keys are ignored.

    Raises:
        InvalidJob: it is no such list, or no model may have such a name, folder or address.
    """
    if given is None:
        return ()
    if not isinstance(given, list):
        raise InvalidJob(f"{_SHAPE}, not {kind(given)}")
    if len(given) > MOST_MODELS:
        raise InvalidJob(f"'models' has {len(given)} entries, the limit is {MOST_MODELS}")
    found: dict[tuple[str, str], OfferedModel] = {}
    for entry in given:
        if not isinstance(entry, Mapping):
            raise InvalidJob(f"{_SHAPE}, and has {quoted(entry)}")
        model = _parse(entry)
        if found.setdefault((model.directory, model.name), model) != model:
            raise InvalidJob(
                f"'models': {quoted(model.name)} for {quoted(model.directory)} is there twice, and differs"
            )
    return tuple(found.values())


def _parse(entry: Mapping[str, Any]) -> OfferedModel:
    name, url, directory = (_text(entry, key) for key in ("name", "url", "directory"))
    for key, value in (("name", name), ("directory", directory)):
        try:
            name_parts(value)
        except BadName as error:
            raise InvalidJob(f"'models': the '{key}' of {quoted(name)} cannot be used: {error}") from None
    try:
        checked = checked_address(url)
    except FetchFailed as error:
        raise InvalidJob(f"'models': the 'url' of {quoted(name)} cannot be used: {error}") from None
    sha256 = entry.get("sha256")
    if sha256 is not None and (not isinstance(sha256, str) or not _SHA256.fullmatch(sha256)):
        raise InvalidJob(
            f"'models': the 'sha256' of {quoted(name)} must have 64 hexadecimal digits, not {quoted(sha256)}"
        )
    return OfferedModel(
        name.replace("\\", "/"), directory.replace("\\", "/"), checked, sha256.lower() if sha256 else None
    )


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidJob(f"{_SHAPE}: '{key}' is missing or no text in {quoted(dict(entry))}")
    return value
