"""Makes texts fit for a caller: without folders of this machine, without secrets, and not too long."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_USER = re.compile(r"//[^/@]*@")
_NAME = r"[\w.@+~-]"
# Matches a URL, which is kept, or an absolute path: its folders, and its last part, which is kept.
_PATH = re.compile(rf"(https?://\S+)|(?<!{_NAME})((?:/{_NAME}+)+/)({_NAME}+)")
_IN_NAME = re.compile(_NAME)
_MOST_SEARCHED = 5_000_000  # Characters of a request. Its texts may have more, and a message is not worth seconds.
_MOST_PATHS, _MOST_PLACES = 100, 1000


class Sent:
    """What a request holds: ``path in sent`` tells whether its caller has written an absolute path.

    ``values``: parts of the request, as JSON.
    """

    def __init__(self, *values: Any) -> None:
        self._values = values
        self._known: dict[str, bool] = {}

    def __contains__(self, path: str) -> bool:
        if path not in self._known:
            self._known[path] = len(self._known) < _MOST_PATHS and self._holds(path)
        return self._known[path]

    def _holds(self, path: str) -> bool:
        """Whether ``path`` stands there, and not only as the beginning or the end of a longer name."""
        text, place = self._text, -1
        for _ in range(_MOST_PLACES):
            place = text.find(path, place + 1)
            if place < 0:
                return False
            if not (_IN_NAME.match(text[place - 1]) or _IN_NAME.match(text[place + len(path)])):
                return True
        return False

    @functools.cached_property
    def _text(self) -> str:
        return "\n" + "\n".join(_texts(self._values, _MOST_SEARCHED)) + "\n"


def _texts(values: Iterable[Any], most: int) -> Iterator[str]:
    """The texts in ``values``, names of fields among them, that have a ``/``; together up to ``most`` characters."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += itertools.chain(value, value.values())
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, str) and "/" in value and len(value) <= most:
            most -= len(value)
            yield value


_NOTHING = Sent()


def public_text(text: str, secrets: Iterable[str | None] = (), max_length: int = 2000, sent: Sent = _NOTHING) -> str:
    """``text`` without folders of this machine and ``secrets``, cut at ``max_length``, encodable as UTF-8.

    Paths that the caller has ``sent`` are not those of this machine, and stay as they are.
    """

    def shown(found: re.Match[str]) -> str:
        url, folders, last = found.groups()
        return url or (found[0] if (folders + last).rstrip(".") in sent else last)

    text = encodable(_PATH.sub(shown, masked(text, secrets)).strip())
    return text if len(text) <= max_length else text[:max_length] + " …"


def listed(names: Sequence[str], most: int) -> str:
    """``names`` with commas between them; of more than ``most``, the first ones."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


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
