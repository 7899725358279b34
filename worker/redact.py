"""Texts made fit for a caller: no folder of this machine, no secret, no endless length."""

from __future__ import annotations

import re
from collections.abc import Iterable

# An absolute path of two parts and more, where it is not the path of a URL; its last part may stay.
_PATH = re.compile(r"(?<![\w:/.\\-])(?:/[\w.@+~-]+){1,}/(?=[\w.@+~-])")
_MAX_LENGTH = 2000


def public_text(text: str, secrets: Iterable[str | None] = ()) -> str:
    """``text`` without folders of this machine and ``secrets``, at most 2,000 characters, encodable as UTF-8."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    text = _PATH.sub("", text).strip()
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + " …"
