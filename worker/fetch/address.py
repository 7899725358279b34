"""Reads the address of a file, and knows which token belongs to which host."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from worker.errors import FetchFailed

_LONGEST = 4096
# Names under which a token stands in an address. Such a part is never shown, and never written into a file.
_SECRET_FIELDS = ("token", "access_token", "api_key", "apikey", "key", "sig", "signature")
HF_HOST, CIVITAI_HOST = "huggingface.co", "civitai.com"
_HF_PAGE = re.compile(r"(/(?:datasets/|spaces/)?[^/]+/[^/]+)/blob/(.+)")
TOKEN_VARIABLES = {HF_HOST: "HF_TOKEN", CIVITAI_HOST: "CIVITAI_TOKEN"}


def checked_address(text: str) -> str:
    """``text`` as it is requested.

    Raises:
        FetchFailed: it is no http(s) address, or it holds a password.
    """
    if len(text) > _LONGEST or not text.isprintable() or any(char.isspace() for char in text) or "\\" in text:
        raise FetchFailed("it is no valid URL")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise FetchFailed("it is no valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise FetchFailed("it is no http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise FetchFailed("it has a user name or a password in it, which are not used here")
    return urlunsplit(parts._replace(fragment=""))


def file_address(url: str) -> str:
    """The address of the file that a page of Hugging Face or Civitai is about; other addresses stay as they are.

    People copy these pages from their browser. ``url``: an address that was checked.
    """
    parts = urlsplit(url)
    if host_of(url) == HF_HOST and (found := _HF_PAGE.fullmatch(parts.path)):
        return urlunsplit(parts._replace(path=f"{found[1]}/resolve/{found[2]}", query=""))
    version = dict(parse_qsl(parts.query)).get("modelVersionId", "")
    if host_of(url) == CIVITAI_HOST and parts.path.startswith("/models/") and version.isdecimal():
        return urlunsplit(parts._replace(path=f"/api/download/models/{version}", query=""))
    return url


def host_of(url: str) -> str:
    """The host of an address that was checked, in lower case."""
    return (urlsplit(url).hostname or "").lower()


def without_secrets(url: str) -> str:
    """``url`` without a token in its query, so that it can be shown and kept. A text that is no URL stays as it is."""
    try:
        parts = urlsplit(url)
        fields = parse_qsl(parts.query, keep_blank_values=True)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url
    kept = [(name, value) for name, value in fields if name.lower() not in _SECRET_FIELDS]
    query = parts.query if len(kept) == len(fields) else urlencode(kept)
    return urlunsplit(parts._replace(netloc=host, query=query, fragment=""))


@dataclass(frozen=True)
class Tokens:
    """Tokens by the one host that may get each. They go there over https only, at the usual port.

    ``goes_to``: whether an address may get one at all.
    """

    by_host: Mapping[str, str] = field(default_factory=dict, repr=False)
    goes_to: Callable[[str], bool] = lambda _: True

    def header(self, url: str) -> dict[str, str]:
        """The header with the token for ``url``; empty if there is none for it."""
        parts = urlsplit(url)
        token = self.by_host.get((parts.hostname or "").lower())
        if not token or parts.scheme != "https" or parts.port not in (None, 443) or not self.goes_to(url):
            return {}
        return {"Authorization": f"Bearer {token}"}
