"""Knows from which addresses jobs may bring models: ``MODEL_SOURCES``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from worker.errors import FetchFailed
from worker.fetch.address import checked_address, file_address

_HTTPS_PORT = 443
# A server may read these as another path than they look like: a step up, a separator, a second encoding.
_AMBIGUOUS = re.compile(r"%(?:2e|2f|5c|25|00)|\\|//|;", re.IGNORECASE)


class Sources:
    """The addresses that begin like one of ``sources``, by whole segments: ``host``, ``host:port`` or ``host/path``."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = tuple((host, path.split("/") if path else []) for host, _, path in _split(sources))

    def has(self, url: str) -> bool:
        """Whether ``url``, an address that was checked, is one of them."""
        parts = urlsplit(url)
        if parts.scheme != "https" or _AMBIGUOUS.search(parts.path):
            return False
        segments = parts.path.split("/")[1:]
        if any(segment in (".", "..") for segment in segments):
            return False
        port = "" if parts.port in (None, _HTTPS_PORT) else f":{parts.port}"
        host = f"{(parts.hostname or '').lower()}{port}"
        return any(host == own and segments[: len(path)] == path for own, path in self._sources)

    def address(self, url: str) -> str:
        """The address from which ``url`` is fetched.

        Raises:
            FetchFailed: it is none of them.
        """
        found = file_address(checked_address(url))
        if not self.has(found):
            raise FetchFailed("this worker fetches no models from its address (MODEL_SOURCES)")
        return found


def _split(sources: Sequence[str]) -> list[tuple[str, str, str]]:
    return [source.partition("/") for source in sources]
