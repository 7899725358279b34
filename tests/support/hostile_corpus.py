"""Hostile jobs by hand, one a line, each with what its answer must say."""

# ruff: noqa: E501 - one entry a line.
# fmt: off

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import graphs
from hostile import CALLERS_BUCKET_KEY, Job
from hostile_files import MARK, gif_of, hostile_files
from pictures import png

Entry = tuple[str, Job, str]
_NOWHERE = "../../../../../../../../etc/passwd"
_FILES = hostile_files()


def _job(workflow: object, **more: object) -> Job:
    return {"id": "corpus", "input": {"workflow": workflow, **more}}


def _shown(class_type: str, **inputs: Any) -> Job:
    """A job of one node, whose first output is shown."""
    return _job({"1": graphs.node(class_type, **inputs), "2": graphs.node("PreviewAny", source=["1", 0])})


def _saved(class_type: str, prefix: object, **inputs: Any) -> Job:
    """A job that saves something under ``prefix``."""
    sources = {
        "0": graphs.node("EmptyImage", width=16, height=16, batch_size=2, color=1),
        "a": graphs.node("EmptyAudio", duration=0.1, sample_rate=8000, channels=1),
        "v": graphs.node("CreateVideo", images=["0", 0], fps=8.0),
        "l": graphs.node("EmptyLatentImage", width=16, height=16, batch_size=1),
    }
    return _job({**sources, "1": graphs.node(class_type, filename_prefix=prefix, **inputs)})


def _file(name: str, data: bytes | str, class_type: str = "LoadImage", key: str = "image") -> Job:
    """A job that brings a file and loads it."""
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    graph = {"1": graphs.node(class_type, **{key: name}), "2": graphs.node("PreviewAny", source=["1", 0])}
    return _job(graph, images=[{"name": name, "image": text}])


def _chain(length: int) -> dict[str, Any]:
    """Nodes in a row, each with two links to the one before."""
    graph = {"0": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
    for number in range(1, length):
        link = [str(number - 1), 0]
        graph[str(number)] = graphs.node("ImageBlend", image1=link, image2=link, blend_factor=0.5, blend_mode="normal")
    return graph | {"show": graphs.node("PreviewImage", images=[str(length - 1), 0])}


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def corpus() -> Iterator[Entry]:
    """Name, job, and a part of its answer: ``error_type: error details``, or ``answered``."""
    yield from _shapes()
    yield from _names()
    yield from _prefixes()
    yield from _contents()
    yield from _sizes()
    yield from _settings()


def _shapes() -> Iterator[Entry]:
    solid = graphs.solid()
    bad = "must be an object with 'class_type' (a string)"
    for kind in (5, None, [], {}, True, ["SaveImage"], {"__proto__": "SaveImage"}):
        yield f"class_type {kind!r}", _job({"1": {"class_type": kind, "inputs": {}}}), bad
    for inputs in (5, None, [], "x", [["images", ["1", 0]]]):
        yield f"inputs {inputs!r}", _job({"1": {"class_type": "SaveImage", "inputs": inputs}}), bad
    for name in ("__proto__", "__class__", "constructor", "os.system", "nodes.SaveImage", ""):
        yield f"class {name!r}", _job({"1": graphs.node(name)}), "this node class is not installed"
    for key in ("__proto__", "__class__", "constructor", "__init__", "self", "cls", "prompt", "extra_pnginfo", "unique_id", "\0", "\ud800"):
        graph = {"1": solid["1"], "2": {"class_type": "SaveImage", "inputs": {**solid["2"]["inputs"], key: {"__class__": 1}}}}
        yield f"key {key!r}", _job(graph), "answered"
    for node_id in ("__proto__", "constructor", "", "../x", "\0", "1.0.0"):
        yield f"node id {node_id!r}", _job({"1": solid["1"], node_id: solid["2"]}), "answered"
    yield "node id that is no text", _job({"1": solid["1"], "\udfff": solid["2"]}), "answered"
    yield "a node in itself", _job({"1": graphs.node("ImageInvert", image=["1", 0]), "2": graphs.node("SaveImage", images=["1", 0], filename_prefix="x")}), "workflow_validation"
    yield "two in a ring", _job({"1": graphs.node("ImageInvert", image=["2", 0]), "2": graphs.node("ImageInvert", image=["1", 0]), "3": graphs.node("PreviewImage", images=["1", 0])}), "workflow_validation"
    for link in (["9", 0], ["1", 99], ["1", 10**30], ["1", 0, 0], ["1", "0"], [1, 0], [["1", 0], 0], [{}, 0], ["1"], [], ["1", None], ["1", 0.5]):
        yield f"link {link!r}", _job({"1": solid["1"], "2": graphs.node("SaveImage", images=link, filename_prefix="x")}), "workflow_validation"
    yield "a type that does not fit", _job({"1": graphs.node("PrimitiveString", value="x"), "2": graphs.node("SaveImage", images=["1", 0], filename_prefix="x")}), "workflow_validation"
    number: Any
    for number in (float("nan"), float("inf"), -float("inf"), 1e308, 2**64, -(2**63), 10**400, "1e999", "0x10", None, [], {}, "x" * 1000):
        yield f"width {number!r:.20}", _job({"1": graphs.node("EmptyImage", width=number, height=8, batch_size=1, color=0), "2": solid["2"]}), "workflow_validation"
    huge = {"0": graphs.node("PrimitiveInt", value=2**62), "1": graphs.node("EmptyImage", width=["0", 0], height=8, batch_size=1, color=0), "2": solid["2"]}
    yield "a size past validation", _job(huge), "workflow_execution"
    config = {"accessId": f"{CALLERS_BUCKET_KEY}-id", "accessSecret": CALLERS_BUCKET_KEY, "bucketName": "b"}
    for endpoint in ("http://127.0.0.1:1", "http://169.254.169.254/", "http://localhost", "file:///etc/passwd", "http://[::ffff:127.0.0.1]", "http://0/", "", 7):
        yield f"s3Config {endpoint!r}", {**_job(solid), "s3Config": {**config, "endpointUrl": endpoint}}, "invalid_input"


def _names() -> Iterator[Entry]:
    loaders = {"LoadImage": "image", "LoadImageMask": "image", "LoadImageOutput": "image", "LoadLatent": "latent", "LoadAudio": "audio", "LoadVideo": "file"}
    names = (_NOWHERE, "/etc/passwd", "../lock", "..\\lock", "~/.bashrc", "C:\\x.png", "a\0.png", "\ud800.png", "../lock [input]", "../lock [output]", "../lock [temp]", "x" * 5000, "a/" * 3000, "/dev/zero", "/proc/self/environ", "file:///etc/passwd", "concat:/etc/passwd", "", ".", "..", "[output]")
    for class_type, key in loaders.items():
        for name in names:
            more = {"channel": "red"} if class_type == "LoadImageMask" else {}
            # LoadVideo opens nothing, it hands its path on.
            yield f"{class_type} {name!r:.30}", _shown(class_type, **{key: name}, **more), "" if class_type == "LoadVideo" else "error"
    models = {"CheckpointLoaderSimple": "ckpt_name", "VAELoader": "vae_name", "UNETLoader": "unet_name", "ControlNetLoader": "control_net_name", "StyleModelLoader": "style_model_name", "DiffusersLoader": "model_path"}
    for class_type, key in models.items():
        for model in ("../../x.safetensors", "/etc/passwd", "x\0", "\ud800", ["a"], {"a": 1}, 5, None):
            yield f"{class_type} {model!r}", _shown(class_type, **{key: model}), "workflow_validation"
    for folder in (_NOWHERE, "../jobs", "/etc", "a/../../jobs", "\0"):
        yield f"LoadTrainingDataset {folder!r}", _shown("LoadTrainingDataset", folder_name=folder), "error"
        yield f"LoadImageDataSetFromFolder {folder!r}", _shown("LoadImageDataSetFromFolder", folder=folder), "error"
    places: tuple[Any, ...] = ({"image": _NOWHERE, "mask": "/etc/passwd", "normal": "../lock", "recording": "../lock"}, {}, [], None)
    for value in places:
        yield f"Load3D {value!r}", _shown("Load3D", model_file="../lock", image=value, width=8, height=8), "error"


def _prefixes() -> Iterator[Entry]:
    savers: dict[str, dict[str, Any]] = {
        "SaveImage": {"images": ["0", 0]},
        "SaveAnimatedPNG": {"images": ["0", 0], "fps": 6.0, "compress_level": 4},
        "SaveAnimatedWEBP": {"images": ["0", 0], "fps": 6.0, "lossless": True, "quality": 80, "method": "default"},
        "SaveLatent": {"samples": ["l", 0]},
        "SaveAudio": {"audio": ["a", 0]},
        "SaveAudioMP3": {"audio": ["a", 0], "quality": "V0"},
        "SaveVideo": {"video": ["v", 0], "format": "mp4", "codec": "h264"},
        "SaveWEBM": {"images": ["0", 0], "codec": "vp9", "fps": 8.0, "crf": 32.0},
    }
    outside = (f"../{MARK}", f"../../{MARK}", f"/tmp/{MARK}", f"/{MARK}", f"a/../../{MARK}", "../input/x", "../kept/0", f"\0{MARK}", "\ud800", "x" * 300, f"{MARK}/" * 2000)
    for class_type, inputs in savers.items():
        for prefix in outside:
            yield f"{class_type} {prefix!r:.30}", _saved(class_type, prefix, **inputs), "workflow_execution"
        for prefix in ("%date:yyyy%", "%width%x%height%", "a/b/../c", "~", "$HOME", "-rf", "a\nb", "<x>", "%s%n", "\\..\\x", ".", "\udcff"):
            yield f"{class_type} {prefix!r}", _saved(class_type, prefix, **inputs), "answered"
        odd: tuple[Any, ...] = (None, [], {}, ["0", 0])
        for other in odd:
            yield f"{class_type} {other!r}", _saved(class_type, other, **inputs), ""
    for folder in (f"../{MARK}", f"/tmp/{MARK}", "\0"):
        yield f"dataset {folder!r}", _saved("SaveImageDataSetToFolder", "x", images=["0", 0], folder_name=folder, mode="overwrite"), "workflow_execution"


def _contents() -> Iterator[Entry]:
    for name, expected in {
        "bomb.png": "pixels", "thin.png": "pixels", "text-bomb.png": "no image", "zero.png": "no image", "empty": "no image", "svg.svg": "nobody may send",
        "html.html": "no image", "pickle.pt": "no image", "elf": "no image", "playlist.m3u8": "nobody may send", "concat.txt": "nobody may send",
        "zip+png.zip": "no image", "png+zip.png": "answered", "gif+js.gif": "", "jpeg+html.jpg": "answered", "php.png": "answered",
        "truncated.png": "no image", "lies.png": "answered", "header-only.png": "no image", "postscript.eps": "no image", "frames.gif": "",
    }.items():
        yield f"file {name}", _file(name, _FILES[name]), expected
        yield f"file {name} as in.png", _file("in.png", _FILES[name]), expected
    for name, expected in {"good.latent": "answered", "odd.latent": "answered", "short.latent": "incomplete", "huge.latent": "overflow", "good.png": "x.latent is no latent"}.items():
        yield f"latent {name}", _file("x.latent", _FILES[name], "LoadLatent", "latent"), expected
    for name in ("bad.wav", "bad.flac", "bad.mp3", "empty.mp4", "good.png", "external.obj"):
        yield f"audio {name}", _file("x.wav", _FILES[name], "LoadAudio", "audio"), "workflow_execution"
        yield f"video {name}", _file("x.mp4", _FILES[name], "LoadVideo", "file"), "answered"
    for name in (_NOWHERE, "/etc/x.png", "../x.png", "a/../../x", "C:\\x.png", "a\0.png", "~/x\n", "x" * 300, "", ".", "a//b", "x [output]"):
        yield f"file name {name!r:.30}", _file(name, _FILES["good.png"]), "invalid_input"
    for name in ("~", "-rf", "%2e%2e", "con.png", "$HOME", "é.png", "lock", ".hidden", "a.png.exe", "\u202egnp.png"):
        yield f"file name {name!r}", _file(name, _FILES["good.png"]), "answered"
    for data in ("http://127.0.0.1:1/", "http://169.254.169.254/x", "https://[::1]/x", "http://0x7f.1/", "HTTP://LOCALHOST/"):
        yield f"URL {data}", _file("in.png", data), "invalid_image"
    for data in ("", "%", "data:,", "data:image/png;base64,", "data:image/png;base64,%", "file:///etc/passwd", "\0", "\ud800", "=" * 99):
        yield f"base64 {data!r:.30}", _file("in.png", data), "invalid_image"


def _sizes() -> Iterator[Entry]:
    yield "a GIF of 10^6 frames", _file("in.gif", gif_of(1_000_000)), "1000000 frames, the limit is"
    yield "100 MB of base64", _file("in.png", "QUJD" * 26_214_400), "no image"
    yield "300 MB of base64", _file("in.png", "QUJD" * 78_643_200), "the limit is"
    yield "100 MB of spaces", _file("in.png", " " * 100_000_000), "invalid_image"
    yield "100 MB before a URL", _file("in.png", "data:" + "x" * 100_000_000), "invalid_image"
    yield "a number of 10 MB", _job({"1": graphs.node("EmptyImage", width="9" * 10_000_000, height=8, batch_size=1, color=0), "2": graphs.solid()["2"]}), "workflow_validation"
    yield "10 MB that keep a regular expression busy", _job({"1": graphs.node("EmptyImage", width=("A" * 199 + " " * 5000) * 2000, height=8, batch_size=1, color=0), "2": graphs.solid()["2"]}), "workflow_validation"
    yield "a model's name of 10 MB", _shown("CheckpointLoaderSimple", ckpt_name="/a" * 5_000_000), "workflow_validation"
    yield "a class of 10 MB", _job({"1": graphs.node("N" * 10_000_000)}), "workflow_validation"
    yield "an id of 10 MB", _job({"1" * 10_000_000: graphs.node("Nope")}), "workflow_validation"
    yield "a job id of 10 MB", {"id": "i" * 10_000_000, "input": {"workflow": graphs.solid()}}, "answered"
    yield "a key of 10 MB", _job(graphs.solid(), comfy_org_api_key="k" * 10_000_000), "answered"
    yield "50,000 nodes of no class", _job({str(n): graphs.node("Nope") for n in range(50_000)}), "and 49975 more"
    yield "50,000 inputs", _job({"1": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0, **{f"k{n}": n for n in range(50_000)}), "2": graphs.solid()["2"]}), "answered"
    yield "1,000 links to nowhere", _job({str(n): graphs.node("PreviewAny", source=["x", 0]) for n in range(1000)}), "more"
    yield "100 nodes in a row, linked twice", _job(_chain(100)), "answered"
    yield "2,000 nodes in a row, linked twice", _job(_chain(2000)), "answered"
    yield "99 levels", _shown("PrimitiveString", value=_deep(95)), "workflow_validation"
    yield "100,000 levels", _shown("PrimitiveString", value=_deep(100_000)), "levels deep"
    yield "100,000 levels as text", {"input": '{"workflow":' + "[" * 100_000 + "]" * 100_000 + "}"}, "Invalid JSON"
    yield "an input of 20 MB that is no JSON", {"input": '{"workflow": "' + "x" * 20_000_000}, "Invalid JSON"
    yield "1,000 files", _job(graphs.solid(), images=[{"name": f"{n}.png", "image": base64.b64encode(png()).decode()} for n in range(1000)]), "answered"
    yield "1,000 files that are none", _job(graphs.solid(), images=[{"name": f"{n}.png", "image": "%"} for n in range(1000)]), "invalid_image"
    yield "a text of 10 MB", _shown("PrimitiveString", value="x" * 10_000_000), "answered"


def _settings() -> Iterator[Entry]:
    """Names of workflows, and values for inputs."""
    solid = graphs.solid()
    for name in ("../x", "/etc/passwd", "a/b", "\0", "\ud800", ".", "..", "", "x" * 10_000_000, "{" * 10_000_000, "con", "~root"):
        yield f"workflow {name!r:.30}", _job(name), "invalid_input"
    for key in ("", ".", "..", "1.", ".x", "\0.\0", "\ud800.x", "2.images", "2.__class__", "__class__.__init__", "." * 400 + "x", "k" * 10_000_000):
        yield f"set {key!r:.30}", _job(solid, set={key: ["1", 0]}), "invalid_input"
    for place, number in enumerate((2**64, -(2**64), 10**400, 1e400, float("nan"), True, None, "8", {}, [], [8], ["1", 0], {"__value__": 8}, _deep(90), _deep(100_000), "9" * 10_000_000)):
        yield f"set width, wrong value {place}", _job(solid, set={"1.width": number}), "invalid_input"
    for prefix in ("/etc/x", "../../x", "a\0b", "%date:" + "y" * 5000 + "%"):
        yield f"set prefix {prefix!r:.30}", _job(solid, set={"2.filename_prefix": prefix}), "workflow_execution"
    yield "set a prefix of 10 MB", _job(solid, set={"2.filename_prefix": "x" * 10_000_000}), "workflow_execution"
    many = {"1": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0, **{f"k{n}": n for n in range(50_000)}), "2": solid["2"]}
    yield "set 1,000 of 50,000 inputs", _job(many, set={f"1.k{n}": 0 for n in range(1000)}), "answered"
    yield "set 10,000 inputs", _job(many, set={f"1.k{n}": 0 for n in range(10_000)}), "the limit is 1000"
    unknown = {str(n): graphs.node("N" * 200 + str(n)) for n in range(50_000)}
    yield "set one of 50,000 nodes that is not there", _job(unknown, set={"N" * 200 + "x.y": 0}), "there is no node"
    yield "set in a class of 10 MB", _job({"1": graphs.node("N" * 10_000_000, x=1)}, set={"1.y": 0}), "has no input 'y'; it has x"


def outcome(answer: dict[str, Any]) -> str:
    """``answer`` as the corpus tells it."""
    if "error" not in answer:
        return "answered"
    return f"error {answer['error_type']}: {answer['error']} {' '.join(answer.get('details', []))}"
