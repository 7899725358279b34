"""Formats a text that a caller wrote, with texts and numbers and nothing else."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from worker.embedded.guards.plain import is_numpy_scalar

LONGEST_TEXT = 10_000_000  # Characters of a formatted text.
LONGEST_SPEC = 100  # Characters of what stands behind the colon of a field.
_WIDE = re.compile(r"\d{5}")


class FormatRefused(ValueError):
    """The text names what no caller may name, or the result would be too long."""


class CallersText(str):
    """A caller's text: a node that formats it reaches no attribute, no item and no object through it."""

    __slots__ = ()

    def format(self, *args: Any, **kwargs: Any) -> str:
        """As ``str.format``, with plain values and plain names only.

        Raises:
            FormatRefused: a value is not str, int, float or bool; a field has an attribute or an index; too long.
        """
        return _PlainFormatter().vformat(str(self), args, kwargs)

    def format_map(self, mapping: Any, /) -> str:
        """As ``format``."""
        return self.format(**mapping)

    def __mod__(self, value: Any, /) -> str:
        """As ``str.__mod__``, with plain values only.

        Raises:
            FormatRefused: as of ``format``.
        """
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        for position, item in enumerate(values):
            plain(str(position), item)
        if _WIDE.search(self) or ("*" in self and any(isinstance(item, int) and item > 9999 for item in values)):
            raise FormatRefused("The text asks for a field of more than 9,999 characters")
        return str(str(self) % value)


class _PlainFormatter(string.Formatter):
    def __init__(self) -> None:
        self._length = 0

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        if not (field_name.isidentifier() or field_name.isdecimal()):
            raise FormatRefused(f"Field {{{field_name[:100]}}}: write only the name of a value, without . and [ ]")
        key = int(field_name) if field_name.isdecimal() else field_name
        return plain(field_name, self.get_value(key, args, kwargs)), field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if len(format_spec) > LONGEST_SPEC or _WIDE.search(format_spec):
            raise FormatRefused(f"Format {format_spec[:100]!r}: a field has at most 9,999 characters")
        text = format(value, format_spec)
        self._length += len(text)
        if self._length > LONGEST_TEXT:
            raise FormatRefused(f"The text would have more than {LONGEST_TEXT:,} characters")
        return text


def plain(name: str, value: Any) -> str | int | float | bool:
    """``value`` as one of Python's own types, without what a subclass of them adds.

    Raises:
        FormatRefused: it is no text and no number.
    """
    if is_numpy_scalar(value):
        value = value.item()
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise FormatRefused(f"Value {name!r} is no text and no number: a {type(value).__name__} arrived. Connect a text")
