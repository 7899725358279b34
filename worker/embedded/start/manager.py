"""ComfyUI-Manager, where it is installed, is put offline: a worker that starts waits for no network."""

from __future__ import annotations

from collections.abc import Iterable
from configparser import ConfigParser, Error
from pathlib import Path

# Where its versions look for their settings, below ComfyUI's user folder.
_PLACES = ("default/ComfyUI-Manager/config.ini", "__manager/config.ini")


def put_manager_offline(custom_nodes: Iterable[str], user: Path, base_user: Path) -> bool:
    """Write ``network_mode = offline`` into the settings of the Manager, beside what ``base_user`` has of them.

    Args:
        custom_nodes: the folders that node packs are loaded from.
        user: ComfyUI's user folder in this process, which it starts with empty.
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
