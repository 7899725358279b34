"""Decodes base64 as people send it: quoted, in lines, with the URL-safe alphabet, without padding."""

from __future__ import annotations

import contextlib
import re

import pybase64

_LONGEST_PREFIX = 220
_SURROUNDINGS = "\"'\ufeff \t\r\n"
_PYTHON = ("b'", 'b"')  # Python's str() of bytes.
_OTHER = re.compile(r"[^A-Za-z0-9+/_=-]")
_USUAL_ONLY, _URL_SAFE_ONLY = re.compile(r"[+/]"), re.compile(r"[_-]")
_URL_SAFE = str.maketrans("-_", "+/")
_CODES = {"%2B": "+", "%2b": "+", "%2F": "/", "%2f": "/", "%3D": "=", "%3d": "="}  # As in the address of a page.
_PADDING = {0: "", 2: "==", 3: "="}  # By the characters that the last group of four has.


def without_prefix(text: str) -> str:
    """``text`` without a ``data:…;base64,`` before it, of which clients leave out parts."""
    start = len(text) - len(text.lstrip(_SURROUNDINGS))
    comma = text.find(",", start, start + _LONGEST_PREFIX)
    words = "".join(text[start : max(comma, start)].lower().split()).split(";")
    return text[comma + 1 :] if "base64" in words else text


def decode_base64(encoded: str) -> bytes:
    """The bytes that ``encoded`` stands for. It has no prefix.

    Raises:
        ValueError: it is no base64, or could mean several things. The text says why.
    """
    with contextlib.suppress(ValueError):  # Nearly always it is strict already.
        return pybase64.b64decode(encoded, validate=True)
    for code, character in _CODES.items() if "%" in encoded else ():
        encoded = encoded.replace(code, character)
    text = "".join(encoded.strip(_SURROUNDINGS).split())
    if text[:2] in _PYTHON:
        text = text[2:]
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
