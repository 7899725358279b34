"""Decodes base64 as people send it: quoted, in lines, with the URL-safe alphabet, without padding."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote

import pybase64

# Clients leave out parts of "data:image/png;base64,". A comma or a semicolon is never part of base64.
_PREFIX = re.compile(r"[\s\"']*(?:data:)?[^,]{0,200};base64,|[\s\"']*data:,", re.IGNORECASE)
_SURROUNDINGS = "\"'\ufeff \t\r\n"
_OTHER = re.compile(r"[^A-Za-z0-9+/_=-]")
_USUAL_ONLY, _URL_SAFE_ONLY = re.compile(r"[+/]"), re.compile(r"[_-]")
_URL_SAFE = str.maketrans("-_", "+/")
_PADDING = {0: "", 2: "==", 3: "="}  # By the characters that the last group of four has.


def without_prefix(text: str) -> str:
    """``text`` without a ``data:…;base64,`` before it."""
    prefix = _PREFIX.match(text)
    return text[prefix.end() :] if prefix else text


def decode_base64(encoded: str) -> bytes:
    """The bytes that ``encoded`` stands for. It has no prefix.

    Raises:
        ValueError: it is no base64, or could mean several things. The text says why.
    """
    with contextlib.suppress(ValueError):  # Nearly always it is strict already.
        return pybase64.b64decode(encoded, validate=True)
    text = "".join((unquote(encoded) if "%" in encoded else encoded).strip(_SURROUNDINGS).split())
    found = _OTHER.search(text)
    if found:
        raise ValueError(f"{found[0]!a} at position {found.start()} is no character of base64")
    if _URL_SAFE_ONLY.search(text):
        if _USUAL_ONLY.search(text):
            raise ValueError("it mixes two alphabets, the usual one (+ and /) and the URL-safe one (- and _)")
        text = text.translate(_URL_SAFE)
    digits = text.rstrip("=")
    if "=" in digits:
        raise ValueError("something follows the padding '='")
    if len(digits) % 4 not in _PADDING:
        raise ValueError(f"it has {len(digits)} characters: one or more are missing")
    padded = digits + _PADDING[len(digits) % 4]
    data = pybase64.b64decode(padded, validate=True)
    if len(digits) % 4 and pybase64.b64encode(data[-(len(data) % 3) :]).decode() != padded[-4:]:
        raise ValueError("it ends in the middle of a byte: its end is missing")
    return data
