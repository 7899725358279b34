"""The formats of files that the worker takes and that ComfyUI's nodes read. Staging and the readers go by this table.

Two libraries that look at one file may see two things in it. So each format says how it is known, and with which of
FFmpeg's demuxers it may be opened: a file that is known for one format is never opened as another one. The table has no
format that names further files (playlists, SDP, sequences of images), none that is run as a program (EPS), and none
that is known only by bytes far inside a file (Photo CD).
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile


class Container(NamedTuple):
    """A format that is known by ``signature`` at ``offset``."""

    offset: int
    signature: bytes
    media_type: str
    demuxers: tuple[str, ...] = ()


CONTAINERS = (
    Container(4, b"ftyp", "video/mp4", ("mov",)),
    Container(0, b"\x1aE\xdf\xa3", "video/webm", ("matroska",)),
    Container(0, b"OggS", "audio/ogg", ("ogg",)),
    Container(0, b"fLaC", "audio/flac", ("flac",)),
    Container(0, b"ID3", "audio/mpeg", ("mp3", "aac", "flac")),  # A tag that may stand before each of these.
    Container(0, b"FLV\x01", "video/x-flv", ("flv",)),
    Container(0, b"\x00\x00\x01\xba", "video/mpeg", ("mpeg",)),
    Container(0, b"\x00\x00\x01\xb3", "video/mpeg", ("mpegvideo",)),
    Container(0, b"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf", ("asf",)),
    Container(0, b"FORM", "audio/aiff", ("aiff",)),
    Container(0, b"#!AMR", "audio/amr", ("amr",)),
    Container(0, b"glTF", "model/gltf-binary"),
    Container(0, b"Kaydara FBX Binary", "model/fbx"),
    Container(0, b"ply\n", "model/ply"),
    Container(0, b"ply\r\n", "model/ply"),
    Container(0, b"NGSP", "model/spz"),
)
_RIFF = {
    b"WAVE": Container(8, b"WAVE", "audio/wav", ("wav",)),
    b"AVI ": Container(8, b"AVI ", "video/x-msvideo", ("avi",)),
}
_MPEG_AUDIO = Container(0, b"\xff", "audio/mpeg", ("mp3",))
_ADTS = Container(0, b"\xff", "audio/aac", ("aac",))
_TRANSPORT_STREAM = Container(0, b"\x47", "video/mp2t", ("mpegts",))
_HEAD = 256  # Bytes at the beginning of a file that tell its container.

# Pillow's formats, with FFmpeg's demuxer for each. One that FFmpeg cannot read has one whose decoder fails: ComfyUI's
# LoadImage tries FFmpeg first and Pillow then. (PNG would not do: its parser finds PNGs anywhere in a file.) TGA has no
# signature, and is tried last.
_UNREADABLE = "tiff_pipe"
_UNREADABLE_TIFF = "webp_pipe"  # For a TIFF with several pages, of which FFmpeg reads the first, or in _TIFF_MODES.
_TIFF_MODES = ("LAB", "YCbCr")  # FFmpeg does not read the one, and takes the range of the other for a film's.
PICTURES: dict[str, str] = {
    "PNG": "png_pipe",
    "JPEG": "jpeg_pipe",
    "WEBP": "webp_pipe",
    "GIF": "gif",
    "BMP": "bmp_pipe",
    "TIFF": "tiff_pipe",
    "AVIF": _UNREADABLE,  # FFmpeg leaves out its transparency, and all tiles of a large picture but the first.
    "PPM": "ppm_pipe",
    "JPEG2000": "j2k_pipe",
    "MPO": _UNREADABLE,  # A JPEG with further pictures. FFmpeg takes them for frames, which may differ in size.
    "DIB": _UNREADABLE,
    "DDS": "dds_pipe",
    "ICNS": _UNREADABLE,
    "ICO": _UNREADABLE,  # FFmpeg reads it, but ComfyUI stumbles over its streams.
    "PCX": "pcx_pipe",
    "PSD": "psd_pipe",
    "QOI": "qoi_pipe",
    "SGI": "sgi_pipe",
    "HEIF": _UNREADABLE,  # This one and the next are known only where a node pack has added them to Pillow.
    "JXL": "jpegxl_pipe",
    "TGA": _UNREADABLE,
}
_BY_MEDIA_TYPE = {
    "image/apng": "apng",
    "image/x-portable-bitmap": "pbm_pipe",
    "image/x-portable-graymap": "pgm_pipe",
    "image/x-portable-anymap": "pam_pipe",
}
# Further demuxers that open nothing but the file they are given, for files that no caller has sent.
_PLAIN = (
    "ac3", "ape", "au", "caf", "dts", "dv", "eac3", "exr_pipe", "gxf", "h264", "hdr_pipe", "hevc", "ivf", "jpegls_pipe",
    "jpegxl_anim", "m4v", "mjpeg", "mpc", "mxf", "nut", "obu", "pfm_pipe", "rm", "tak", "tta", "w64", "wv",
    "yuv4mpegpipe",
)  # fmt: skip
_RAW_SOUND = frozenset(
    f"{kind}{bits}{order}" for kind in "fsu" for bits in (16, 24, 32, 64) for order in ("le", "be")
) | {"s8", "u8", "alaw", "mulaw"}

# Kept before a node pack can replace it. One pack's replacement installs packages when it finds an unknown image.
_open_image = Image.open


def all_demuxers() -> tuple[str, ...]:
    """Every demuxer of the table, in FFmpeg's names."""
    containers = (*CONTAINERS, *_RIFF.values(), _MPEG_AUDIO, _ADTS, _TRANSPORT_STREAM)
    named = {name for container in containers for name in container.demuxers}
    return tuple(sorted(named | {*PICTURES.values(), *_BY_MEDIA_TYPE.values(), *_PLAIN}))


def is_raw_sound(demuxer: str) -> bool:
    """Whether a demuxer takes bytes as they are for samples, which somebody must ask for by its name."""
    return demuxer in _RAW_SOUND


def picture_formats() -> list[str]:
    """The formats of the table that this Pillow knows, in the order in which they are tried."""
    Image.init()
    return [name for name in PICTURES if name in Image.OPEN]


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """``file`` as a picture that is not decoded yet.

    Raises:
        Exception: it is none. Pillow's plugins raise any kind of exception for a damaged file.
    """
    return _open_image(file, formats=picture_formats())


def picture_media_type(picture: ImageFile.ImageFile) -> str:
    """The media type of an open picture."""
    return picture.get_format_mimetype() or f"image/{(picture.format or '').lower()}"


def find_container(head: bytes) -> Container | None:
    """What the first bytes of a file, 256 or more, say that it is; None if they say nothing."""
    for container in CONTAINERS:
        if head.startswith(container.signature, container.offset):
            return container
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if len(head) > 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[2] >> 4 != 0xF:
        return _MPEG_AUDIO
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return _ADTS
    if len(head) > 188 and head[0] == 0x47 and head[188] == 0x47:
        return _TRANSPORT_STREAM
    return None


def demuxers_for(file: BinaryIO) -> tuple[str, ...]:
    """The demuxers with which FFmpeg may open ``file``, which is at its beginning; none if it holds no media.

    The file is a picture if staging takes it for one, and then it is nothing else.
    """
    try:
        with open_picture(file) as picture:
            if picture.format == "TIFF" and (getattr(picture, "n_frames", 1) > 1 or picture.mode in _TIFF_MODES):
                return (_UNREADABLE_TIFF,)
            if "mpoffset" in picture.info:  # Pillow takes some photographs with a gain map (Ultra HDR) for plain JPEGs.
                return (PICTURES["MPO"],)
            known = _BY_MEDIA_TYPE.get(picture_media_type(picture)) or PICTURES[picture.format or ""]
    except Exception:  # noqa: BLE001 - as open_picture says.
        file.seek(0)
        container = find_container(file.read(_HEAD))
        return container.demuxers if container else ()
    return (known,)
