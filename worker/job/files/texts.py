"""Tells which files are texts that nodes read, and which are lists of further files, which no caller may send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_NUMBERS = re.compile(r"^[ \t]*+[\d.eE+-]++[ \t]++[\d.eE+-]++[ \t]++[\d.eE+-]++[ \t\r]*+$", re.MULTILINE)
_LARGEST_JSON = 10_000_000  # Characters. Larger ones take gigabytes when they are parsed, and only count as texts.
# Players and FFmpeg open the files and addresses that these name.
_MANIFEST_NAMES = frozenset((
    ".asx", ".concat", ".cue", ".dash", ".ffconcat", ".ism", ".m3u", ".m3u8", ".mpd", ".pls", ".ram", ".sdp", ".smi",
    ".smil", ".svg", ".svgz", ".wpl", ".xspf",
))  # fmt: skip
_PROBED = 1 << 20  # Bytes. FFmpeg looks no further to find out what a file is.
# In letters of ASCII, so that it finds them in all encodings.
_MANIFEST = re.compile(
    r"[\s\xef\xbb\xbf\xff\xfe]*+(?:#EXT(?:M3U|INF|-X-|VLCOPT)|ffconcat\s+version|\[(?:playlist|Reference)\]|v=0\s++[os]="
    # What may stand before the first element is skipped without backtracking.
    r"|(?>\s++|<\?.*?\?>|<!--.*?-->|<!DOCTYPE(?>[^>\[\"']++|\"[^\"]*+\"|'[^']*+')*+"
    r"(?:\[(?>[^\]\"']++|\"[^\"]*+\"|'[^']*+')*+\]\s*+)?>)*+"
    r"<(?:\w++:)?+(?:MPD|svg|asx|smil|playlist|SmoothStreamingMedia|CompositionPlaylist)[\s>])",
    re.IGNORECASE | re.DOTALL,
)
# FFmpeg finds these anywhere.
_MANIFEST_INSIDE = re.compile(r"^c=IN IP[46] |<CompositionPlaylist\b", re.MULTILINE)


def _any_text(_: str) -> bool:
    return True


def _is_json(text: str) -> bool:
    if len(text) > _LARGEST_JSON:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# By the ending: the media type, and what the content must be beside text.
_TEXTS: dict[str, tuple[str, Callable[[str], object]]] = {
    ".txt": ("text/plain", _any_text),
    ".md": ("text/markdown", _any_text),
    ".csv": ("text/csv", _any_text),
    ".tsv": ("text/tab-separated-values", _any_text),
    ".log": ("text/plain", _any_text),
    ".json": ("application/json", _is_json),
    ".jsonl": ("application/jsonl", lambda text: all(map(_is_json, filter(str.strip, text.splitlines())))),
    ".yaml": ("application/yaml", _any_text),
    ".yml": ("application/yaml", _any_text),
    ".srt": ("application/x-subrip", re.compile(r"\d\d:\d\d[,.]\d{3}\s*-->").search),
    ".vtt": ("text/vtt", re.compile(r"\s*WEBVTT(?!\S)").match),
    ".ass": ("text/x-ssa", re.compile(r"\s*\[Script Info\]", re.IGNORECASE).match),
    ".cube": ("text/x-cube", lambda text: re.search(r"LUT_[13]D_SIZE\s+\d", text) and _NUMBERS.search(text)),
}


def is_manifest(name: str, data: bytes) -> bool:
    """Whether a file is a playlist, a manifest, or another file that names files to open, by its name or content."""
    if PurePosixPath(name).suffix.lower() in _MANIFEST_NAMES:
        return True
    text = data[:_PROBED].replace(b"\0", b"").decode("latin-1")
    return bool(_MANIFEST.match(text) or _MANIFEST_INSIDE.search(text)) or ("<MPD" in text and "dash:profile" in text)


def text_media_type(name: str, data: bytes) -> str | None:
    """The media type of a text whose content fits the ending of its name; None for all other files."""
    known = _TEXTS.get(PurePosixPath(name).suffix.lower())
    if known is None:
        return None
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError:
        return None
    media_type, fits = known
    return media_type if not _CONTROL.search(text) and fits(text) else None


def has_text_name(name: str) -> bool:
    """Whether a name ends like that of a text."""
    return PurePosixPath(name).suffix.lower() in _TEXTS


def _encoding(data: bytes) -> str:
    return "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
