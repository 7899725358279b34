"""Puts ComfyUI-Manager offline, if it is installed, so that a start does not wait for the network."""

from __future__ import annotations

from collections.abc import Iterable
from configparser import ConfigParser, Error
from pathlib import Path

# Where the Manager's versions look for their settings, below ComfyUI's user folder.
_PLACES = ("default/ComfyUI-Manager/config.ini", "__manager/config.ini")


def put_manager_offline(custom_nodes: Iterable[str], user: Path, base_user: Path) -> bool:
    """Write ``network_mode = offline`` into the Manager's settings, and keep its other settings from ``base_user``.

    Args:
        custom_nodes: the folders that node packs are loaded from.
        user: ComfyUI's user folder in this process, which is empty at the start.
        base_user: the user folder of the image.

    Returns:
        Whether the Manager is installed.
    """
    installed = any(
        "comfyui-manager" in entry.name.lower()
        for folder in map(Path, custom_nodes)
        if folder.is_dir()
        for entry in folder.iterdir()
    )
    for place in _PLACES if installed else ():
        config = ConfigParser(interpolation=None)
        try:
            config.read(base_user / place, encoding="utf-8")
        except (Error, UnicodeDecodeError):
            config = ConfigParser(interpolation=None)
        config.read_dict({"default": {"network_mode": "offline"}})
        (user / place).parent.mkdir(parents=True, exist_ok=True)
        with (user / place).open("w", encoding="utf-8") as file:
            config.write(file)
    return installed
