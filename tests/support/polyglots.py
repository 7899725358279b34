"""Files that are one thing to staging and another one to FFmpeg or Pillow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import media
import torch
from ffmpeg_probe import FOLLOWERS, probe
from safetensors.torch import save

from worker.job.formats import CONTAINERS


def hls(segment: str) -> bytes:
    """A playlist of one segment."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{segment}\n#EXT-X-ENDLIST\n".encode()


SDP = (
    b"\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)


def polyglots(segment: str) -> dict[str, bytes]:
    """Files by their names; ``segment`` is what the playlists among them name."""
    playlist = hls(segment)
    id3 = b"ID3\x03\0\0\0\0\0\0"
    return {
        "pcd.m3u8": playlist.ljust(2048, b"\n") + b"PCD_" + b"\0" * 4096,
        "id3.m3u8": id3 + playlist,
        "id3-concat.txt": id3 + f"ffconcat version 1.0\nfile '{segment}'\n".encode(),
        "id3-sdp.sdp": id3 + SDP,
        "form.sdp": b"FORM" + SDP,
        "amr.sdp": b"#!AMR" + SDP,
        "ply.sdp": b"ply" + SDP,
        "mp3.sdp": b"\xff\xfb\x90" + SDP,
        "adts.sdp": b"\xff\xf1\x50" + SDP,
        "ts.sdp": (b"G" + SDP).ljust(188, b"\n") + b"G" + b"\n" * 400,
        "ftyp.sdp": b"\0\0\0\x20ftypisom" + SDP,
        "ogg.sdp": b"OggS" + SDP,
        "flv.sdp": b"FLV\x01" + SDP,
        "glb.sdp": b"glTF" + SDP,
    }


def probed(segment: str, is_known: Callable[[bytes], bool]) -> dict[str, bytes]:
    """Files by their names that FFmpeg's own probe takes for one that names further files.

    Each signature of the worker's table stands before, after, or far inside of each such text.

    Args:
        segment: what the texts name.
        is_known: whether staging takes a file. The others are left out.
    """
    texts = {
        "m3u8": hls(segment),
        "ffconcat": f"ffconcat version 1.0\nfile '{segment}'\n".encode(),
        "sdp": SDP,
        "mpd": f'<?xml version="1.0"?><MPD profiles="urn:mpeg:dash:profile:x"><BaseURL>{segment}'.encode(),
        "%d.png": b"",
    }
    found = {}
    for ending, text in texts.items():
        for place, data in enumerate(_disguised(text)):
            name = f"in{place}.{ending}"
            if probe(name, data) in FOLLOWERS and is_known(data):
                found[name] = data
    return found


def _disguised(text: bytes) -> Iterator[bytes]:
    heads = [b"\0" * each.offset + each.signature for each in CONTAINERS]
    heads += [b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0AVI ", b"\xff\xfb\x90", b"\xff\xf1\x50", b"G"]
    heads += [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"P6\n1 1\n255\n",
        b"8BPS",
        b"PCD_",
    ]
    for head in heads:
        yield head + text
        yield head + b"\n" + text
        yield head.ljust(188, b"\n") + text
        for offset in (128, 257, 2048, 32769):
            yield text.ljust(offset, b"\n") + head + b"\0" * 4096
    # The tag that may stand before sounds says its own length.
    for length in (0, 10, 127):
        yield b"ID3\x03\0\0\0\0\0" + bytes([length]) + b"\n" * length + text


def picture_with_film(picture: bytes) -> bytes:
    """An AVIF picture in which FFmpeg finds the streams of an MP4."""
    return picture + media.video(99)


def picture_and_film() -> bytes:
    """A TGA of 16×16 pixels that is an MP4 of four frames to FFmpeg. TGA has no signature."""
    film = media.video(99, movflags="frag_keyframe+empty_moov+default_base_moof")
    rest = film[struct.unpack_from(">I", film)[0] :]
    # The size of the first box says "true colour", its version is the width and height, its next brand the depth.
    first = b"\0\0\x02\0" + b"ftyp" + b"isom" + b"\x10\0\x10\0" + b"\x18\0\0\0"
    return first.ljust(0x200, b"\0") + rest


def picture_and_latent() -> bytes:
    """A TGA of 2313×2313 pixels that is a latent to safetensors. TGA has no signature."""
    latent = save({"latent_tensor": torch.zeros(1, 4, 2, 2), "latent_format_version_0": torch.zeros(0)})
    length = struct.unpack_from("<Q", latent)[0]
    header, data = latent[9 : 8 + length], latent[8 + length :]
    wanted = 0x020000  # The header's length, whose bytes say "true colour" to a reader of TGA.
    return struct.pack("<Q", wanted) + (b"{" + b"\t" * 7 + b" " * 2 + header).ljust(wanted) + data
