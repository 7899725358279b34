"""Which files a job may bring, and what of a picture arrives in ComfyUI."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from worker import Worker
from worker.errors import InputsRefused
from worker.job.files.content import identify
from worker.job.files.heif import decode_heif, is_heif
from worker.job.files.staging import InputLimits, stage
from worker.job.job import InputImage

WIDTH, HEIGHT = 96, 64
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
COLOURS = (np.stack([RAMP, np.full_like(RAMP, 0.25), 1 - RAMP], -1) * 255).round().astype(np.uint8)
TURNED = Image.Exif()
TURNED[0x112] = 6  # Turn it clockwise by 90 degrees.
LIMITS = InputLimits(max_bytes=5_000_000, max_pixels=1_000_000)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """``picture`` as a file."""
    buffer = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(picture).save(buffer, **options)
    else:
        picture.save(buffer, kind, **options)
    return buffer.getvalue()


def loaded(worker: Worker, name: str, data: bytes) -> list[np.ndarray]:
    """The pictures, and then the masks, that LoadImage makes of a file."""
    graph = graphs.load(name)
    graph["3"] = graphs.node("MaskToImage", mask=["1", 1])
    graph["4"] = graphs.node("SaveImage", images=["3", 0], filename_prefix="mask")
    result = worker.run(graph, images={name: data})
    assert not result.errors
    return [np.asarray(picture).astype(int) for picture in result.images]


def is_near(picture: np.ndarray, wanted: np.ndarray, by: int = 4) -> bool:
    """Whether two pictures have the same size and nearly the same values. One row is compared: encoders blur edges."""
    assert picture.shape == wanted.shape
    return bool(np.abs(picture - wanted.astype(int)).max() <= by)


@pytest.mark.parametrize("kind", ["HEIF", "JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_arrives_whole_and_upright(worker: Worker, kind: str) -> None:
    options = {"exif": TURNED} if kind in ("PNG", "TIFF") else {"exif": TURNED.tobytes(), "quality": 95}
    data = encoded(Image.fromarray(COLOURS), kind, **options)
    picture, _ = loaded(worker, f"photo.{kind.lower()}", data)
    assert is_near(picture, np.rot90(COLOURS, -1), by=12)


@pytest.mark.parametrize("is_ultra_hdr", [False, True])
def test_a_gain_map_of_a_photograph_is_no_frame(worker: Worker, is_ultra_hdr: bool) -> None:
    brighter = Image.new("L", (WIDTH // 2, HEIGHT // 2), 200)
    exif = TURNED.tobytes()
    data = encoded(Image.fromarray(COLOURS), "MPO", save_all=True, append_images=[brighter], exif=exif, quality=95)
    if is_ultra_hdr:  # Pillow does not look at the further pictures of these.
        note = b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'
        data = data[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + data[2:]
    pictures = loaded(worker, "photo.jpg", data)
    assert len(pictures) == 2  # One, and its mask.
    assert is_near(pictures[0], np.rot90(COLOURS, -1), by=12)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "CMYK"])
def test_a_tiff_of_other_colours_arrives(worker: Worker, mode: str) -> None:
    middle = Image.new("RGB", (WIDTH, HEIGHT), (40, 64, 220)).convert(mode if mode != "LAB" else "RGB")
    picture = middle if mode != "LAB" else Image.new("LAB", (WIDTH, HEIGHT), (128, 128, 128))
    found, *_ = loaded(worker, "scan.tif", encoded(picture, "TIFF"))
    assert is_near(found, np.asarray(picture.convert("RGB")))


def test_a_large_photograph_of_a_phone_is_not_cut(worker: Worker) -> None:
    wide = np.asarray(Image.fromarray(COLOURS).resize((1500, 1100)))
    picture, _ = loaded(worker, "IMG_1.HEIC", encoded(Image.fromarray(wide), "HEIF", quality=90))
    assert is_near(picture, wide, by=12)


def test_colours_of_a_wide_gamut_are_converted() -> None:
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile whose red is blue, and whose blue is red.
    swapped = usual.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    for profile, wanted in ((usual, COLOURS), (swapped, COLOURS[..., ::-1]), (b"broken", COLOURS)):
        data = encoded(Image.fromarray(COLOURS), "HEIF", quality=-1, icc_profile=profile, chroma=444)
        with Image.open(io.BytesIO(decode_heif(data, 10**6).png)) as picture:
            assert "icc_profile" not in picture.info
            assert is_near(np.asarray(picture).astype(int), wanted, by=6)


@pytest.mark.parametrize("kind", ["HEIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_arrives(worker: Worker, kind: str) -> None:
    alpha = (RAMP * 255).round().astype(np.uint8)
    data = encoded(Image.fromarray(np.dstack([COLOURS, alpha])), kind, **({"quality": 100} if kind == "AVIF" else {}))
    _, mask = loaded(worker, f"cut.{kind.lower()}", data)
    assert is_near(mask[..., 0], 255 - alpha, by=6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(worker: Worker, kind: str) -> None:
    data = encoded(Image.fromarray((RAMP * 65535).astype(np.uint16)), kind)
    picture, _ = loaded(worker, f"depth.{kind.lower()}", data)
    assert is_near(picture[..., 0], RAMP * 255)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "AVIF"])
def test_every_page_arrives(worker: Worker, kind: str) -> None:
    first, *others = (Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (10, 100, 200))
    data = encoded(first, kind, save_all=True, append_images=others)
    pictures = loaded(worker, f"pages.{kind.lower()}", data)[:3]
    assert [int(picture[5, 5, 0]) // 9 for picture in pictures] == [10 // 9, 100 // 9, 200 // 9]


def test_what_does_not_arrive_is_said(worker: Worker) -> None:
    pages = [Image.new("L", size, 99) for size in ((64, 64), (32, 32))]
    files = {
        "deep.tif": encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        "pages.tif": encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
    }
    graph = {name: graphs.node("LoadImage", image=name) for name in files}
    graph |= {name[0]: graphs.node("SaveImage", images=[name, 0], filename_prefix="x") for name in files}
    warnings = worker.run(graph, images=files).warnings
    assert ["'deep.tif': it has values of 32 bits" in warnings[0], "'pages.tif': its pages have several" in warnings[1]]


@pytest.mark.parametrize("brands", [b"heixheix", b"heix____", b"hevs____", b"____heix", b"mp42heix"])
def test_a_photograph_is_known_by_any_of_its_brands(brands: bytes) -> None:
    data = encoded(Image.fromarray(COLOURS), "HEIF")
    assert data[:8] == b"\0\0\0\x1cftyp"
    data = data[:8] + brands[:4] + data[12:16] + b"miaf" + brands[4:] + data[24:]
    assert is_heif(data) == (brands[:4] != b"mp42")
    assert not is_heif(data.replace(b"miaf", b"avis"))


def test_what_a_photograph_loses_is_said() -> None:
    picture = Image.fromarray(np.full((64, 64, 4), 128, np.uint8))
    pages = pillow_heif.from_pillow(picture)
    pages.add_from_pillow(picture)
    buffer = io.BytesIO()
    pages.save(buffer)
    assert decode_heif(buffer.getvalue(), 10**6).remark == "of its 2 pictures, the main one is used"
    for curve, primaries, word in ((13, 1, ""), (13, 12, "wide gamut"), (16, 9, "HDR"), (18, 9, "HDR")):
        data = encoded(
            picture, "HEIF", color_primaries=primaries, transfer_characteristics=curve, matrix_coefficients=1
        )
        remark = decode_heif(data, 10**6).remark
        assert word in remark if word else not remark


def test_premultiplied_transparency_is_undone() -> None:
    picture = Image.fromarray(np.full((64, 64, 4), (200, 100, 50, 128), np.uint8))
    with Image.open(io.BytesIO(decode_heif(encoded(picture.convert("RGBa"), "HEIF", quality=-1), 10**6).png)) as found:
        assert is_near(np.asarray(found).astype(int), np.asarray(picture))


def test_a_preview_is_no_whole_picture() -> None:
    for tag, value in ((0xFE, 1), (0xC612, b"\1\4\0\0"), (0xFE, 0)):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[tag] = value
        data = encoded(Image.fromarray(COLOURS), "TIFF", tiffinfo=tags)
        content = identify(data, 10**6)
        assert content is not None
        assert ("camera's raw file" in content.remark) == bool(value)


def test_heic_files_have_the_limits_of_others(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(np.zeros((1001, 1000, 3), np.uint8)), "HEIF")
    damaged = data[:200] + bytes(300)
    for content, why in (
        (data, "it has 1001000 pixels, the limit is 1000000"),
        (damaged, "it is a damaged HEIC picture"),
    ):
        with pytest.raises(InputsRefused) as caught:
            stage([InputImage("a.heic", content)], tmp_path, LIMITS)
        assert caught.value.details == [f"Error reading a.heic: {why}"]


TEXTS = {
    "prompt.txt": "a lake, früh am Morgen\n\tby the sea",
    "extra.md": "#Extra notes",
    "extent.csv": "#extent;b\n1;2\n",
    "notes.md": "# Notes\n<svg is drawn by hand>",
    "rows.csv": "a;b\n1;2\n",
    "rows.tsv": "a\tb\n",
    "data.json": json.dumps({"a": [1, "<svg>", "#EXTM3U"]}),
    "film.srt": "1\n00:00:01,000 --> 00:00:02,000\nHello\n",
    "run.log": "done",
    "rows.jsonl": '{"a": 1}\n\n[2]\n',
    "pack.yaml": "a: 1\n",
    "film.ass": "[Script Info]\nTitle: x\n",
    "film.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n",
    "look.cube": 'TITLE "x"\nLUT_3D_SIZE 2\n' + "0.0 0.5 1\n" * 8,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_is_taken_where_its_content_fits_its_name(tmp_path: Path, name: str, encoding: str) -> None:
    data = TEXTS[name].encode(encoding)
    stage([InputImage(name, data)], tmp_path, LIMITS)
    assert (tmp_path / name).read_bytes() == data


def test_a_node_reads_a_text(worker: Worker) -> None:
    graph = {"1": graphs.node("TestReadsText", name="sub/prompt.txt")}
    assert worker.run(graph, images={"sub/prompt.txt": b"a lake"}).text == ["a lake"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.json", b"{"), ("prompt.txt", b"\x00\x01\x02"), ("prompt.txt", "é".encode("latin-1")),
        ("film.srt", b"Hello"), ("film.ass", b"Hello"), ("rows.jsonl", b'{"a": 1}\n{'),
        ("film.vtt", b"Hello"), ("film.vtt", b"WEBVTTX"), ("look.cube", b"0 0 0"), ("a.json", b"[" * 100_000),
    ],
)  # fmt: skip
def test_a_text_that_does_not_fit_its_name_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputsRefused) as caught:
        stage([InputImage(name, data)], tmp_path, LIMITS)
    why = "its content does not fit the ending of its name (texts are in UTF-8 or UTF-16)"
    assert caught.value.details == [f"Error reading {name}: {why}"]


MANIFESTS = {
    "a.m3u8": b"x", "a.sdp": b"x", "b.SVG": b"x", "a.ffconcat": b"x", "a.mpd": b"x",
    "list.txt": b"\xef\xbb\xbf \n#EXTM3U\nfile.ts", "utf16.txt": "#EXTM3U\n".encode("utf-16"),
    "concat.txt": b"ffconcat version 1.0\nfile /etc/passwd", "call.txt": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    "list.md": b"[playlist]\nFile1=x",
    "drawing.txt": b"<?xml version='1.0'?>\n<!-- a --><!DOCTYPE svg [<!ENTITY a 'b'>]> <svg >",
    "stream.csv": b"<MPD xmlns='x'>", "spaces.txt": b"<svg:svg x='1'>",
    "a.wpl.txt": b'<?wpl version="1.0"?>\n<smil><body><media src="/etc/passwd"/>', "instruction.md": b"<?a?><svg >",
    "late.txt": b" " * 9000 + b"<svg >", "comment.md": b"<!--" + b"x" * 9000 + b"--><svg >",
    "public.txt": b'<!DOCTYPE svg PUBLIC "a>b" "c"><svg >', "entity.txt": b'<!DOCTYPE svg [<!ENTITY a "]">]><svg >',
    "call2.txt": b"s=x\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    "inside.txt": b'hello\n<MPD profiles="urn:mpeg:dash:profile:isoff-live:2011">',
    "cinema.txt": b'<?xml version="1.0"?><CompositionPlaylist xmlns="x">', "asx.txt": b"[Reference]\nRef1=http://a/b",
    "le.bin": "#EXTM3U\n".encode("utf-16-le"), "be.bin": "<svg>".encode("utf-16-be"),
    "32.bin": "<svg>".encode("utf-32"),
    "sound.mp3": "<svg>".encode("utf-16"), "model.m3u8": b"v 0 0 0\nv 1 1 1\nf 1 2 2\n",
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("any_kind", [False, True])
def test_a_list_of_files_is_never_taken(tmp_path: Path, name: str, any_kind: bool) -> None:
    limits = InputLimits(max_bytes=100_000, max_pixels=1_000_000, any_kind=any_kind)
    with pytest.raises(InputsRefused) as caught:
        stage([InputImage(name, MANIFESTS[name])], tmp_path, limits)
    line = f"Error reading {name}: it is a playlist or another list of files, which nobody may send"
    assert caught.value.details == [line]


def test_looking_for_lists_takes_no_time(tmp_path: Path) -> None:
    for filler in (
        b"<!-- -->",
        b"<!--",
        b" ",
        b"<!DOCTYPE [",
        b"<?xml",
        b"<!DOCTYPE '",
        b"<MPD",
        b"dash:profile",
        b"c=IN",
    ):
        stage([InputImage("a.txt", filler * 100_000)], tmp_path, LIMITS)
        assert (tmp_path / "a.txt").read_bytes() == filler * 100_000


@pytest.mark.parametrize("name", ["a.zip", "font.ttf", "a.bin", "noending"])
def test_the_operator_lets_other_files_in(tmp_path: Path, png: Callable[..., bytes], name: str) -> None:
    data = b"PK\x03\x04" + png()
    with pytest.raises(InputsRefused, match="input images"):
        stage([InputImage(name, data)], tmp_path, LIMITS)
    stage([InputImage(name, data)], tmp_path, InputLimits(max_bytes=100_000, max_pixels=1_000_000, any_kind=True))
    assert (tmp_path / name).read_bytes() == data
