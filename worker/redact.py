"""Makes texts fit for a caller: without folders of this machine, without secrets, and not too long."""

from __future__ import annotations

import re
from collections.abc import Iterable

_USER = re.compile(r"//[^/@]*@")
# Matches a URL, which is kept, or the folders of an absolute path. The last part of the path is kept.
_PATH = re.compile(r"(https?://\S+)|(?<![\w.@+~-])(?:/[\w.@+~-]+)+/(?=[\w.@+~-])")


def public_text(text: str, secrets: Iterable[str | None] = (), max_length: int = 2000) -> str:
    """``text`` without folders of this machine and ``secrets``, cut at ``max_length``, encodable as UTF-8."""
    text = _PATH.sub(lambda found: found[1] or "", masked(text, secrets)).strip()
    text = encodable(text)
    return text if len(text) <= max_length else text[:max_length] + " …"


def masked(text: str, secrets: Iterable[str | None]) -> str:
    """``text`` without ``secrets``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "********")
    return text


def masked_url(text: str) -> str:
    """``text`` without the user name and the password that a URL in it may have."""
    return _USER.sub("//********@", text)


def encodable(text: str) -> str:
    """``text`` with lone surrogates, which UTF-8 cannot hold, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
