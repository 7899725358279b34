"""What FFmpeg itself takes a file for: its own probe, which opens nothing."""

from __future__ import annotations

import ctypes
from pathlib import Path

import av

_PADDING = 32  # Zeros that FFmpeg wants after what it probes.
# Formats that name further files, or addresses, which FFmpeg then opens.
FOLLOWERS = frozenset({"hls", "concat", "sdp", "dash", "rtsp", "rtp", "image2", "applehttp", "imf", "mpsub", "vobsub"})


class _ProbeData(ctypes.Structure):
    _fields_ = (
        ("filename", ctypes.c_char_p),
        ("buffer", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("mime_type", ctypes.c_char_p),
    )


def probe(name: str, data: bytes) -> str | None:
    """The name of the demuxer that FFmpeg chooses for a file of this name, or None."""
    score = ctypes.c_int(0)
    probed = _ProbeData(name.encode(), data[:1_048_576] + b"\0" * _PADDING, min(len(data), 1_048_576), None)
    found = _LIBRARY.av_probe_input_format3(ctypes.byref(probed), 1, ctypes.byref(score))
    # The first field of AVInputFormat is its name.
    return ctypes.cast(found, ctypes.POINTER(ctypes.c_char_p))[0].decode() if found else None


def _library() -> ctypes.CDLL:
    package = Path(av.__file__).parent
    path = next(package.parent.glob("av.libs/libavformat*"), None)
    library = ctypes.CDLL(str(path) if path else "libavformat.so")
    library.av_probe_input_format3.restype = ctypes.c_void_p
    return library


_LIBRARY = _library()
