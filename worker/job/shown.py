"""How a value of a caller is shown in a message."""

from __future__ import annotations


def kind(value: object) -> str:
    """The name of ``value``'s type in JSON, for messages."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def quoted(value: object) -> str:
    """``value`` for a message: short, on one line, and encodable as UTF-8."""
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else text[:77] + "...'"
