"""Which names a model file to fetch may have, and which kinds of file may be fetched at all.

A name and a folder are words of whoever wrote the workflow, so neither may lead out of ComfyUI's model folders.
"""

from __future__ import annotations

from pathlib import PurePosixPath

SAFE_ENDINGS = (".safetensors", ".sft", ".gguf", ".onnx")
PICKLE_ENDINGS = (".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
_LONGEST = 200  # Bytes of a name, since a part of it has an ending more.
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class BadName(Exception):
    """No model file may have this name. The text says why."""


def name_parts(text: str) -> list[str]:
    """The parts of a relative path.

    Raises:
        BadName: it leads elsewhere, or is no path.
    """
    plain = text.replace("\\", "/")
    parts = plain.split("/")
    if not plain.isprintable() or "\0" in plain:
        raise BadName("its name has characters that are not allowed in a name")
    if plain.startswith("/") or (len(plain) > 1 and plain[1] == ":"):
        raise BadName(f"{text[:200]!r} is the full path of a file on another machine")
    if any(part in ("", ".", "..") or part.startswith((".", "~")) for part in parts):
        raise BadName(f"{text[:200]!r} would lie outside of the model folders, or be hidden there")
    if any(len(part.encode("utf-8", "surrogatepass")) > _LONGEST for part in parts) or len(plain) > 1000:
        raise BadName("its name is too long")
    return parts


def check_ending(name: str, *, pickles: bool, switch: str) -> None:
    """Check that files with this name may be fetched.

    Args:
        name: a file's name.
        pickles: whether files may be fetched that run code when they are loaded.
        switch: what allows them, for the message.

    Raises:
        BadName: they may not.
    """
    ending = PurePosixPath(name).suffix.lower()
    if ending in SAFE_ENDINGS or (pickles and ending in PICKLE_ENDINGS):
        return
    if ending in PICKLE_ENDINGS:
        raise BadName(f"a {ending} file can run code when it is loaded: {switch}")
    raise BadName(f"{name!r} is no model file: those end with {', '.join(SAFE_ENDINGS)}")


def looks_pickled(start: bytes) -> bool:
    """Whether a file that begins like this may be a pickle, also one in an archive."""
    return start.startswith(_PICKLED)
