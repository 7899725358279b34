"""Puts ComfyUI's own ``main.py`` in the place of this process, with the flags that the worker would start it with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from worker.editor.address import check_port, is_open
from worker.editor.folders import EditorFolder, open_folder
from worker.editor.front_end import check_front_end
from worker.editor.pack import NAME, VOLUME, link_pack
from worker.embedded.start.flags import arguments, parse_flags
from worker.embedded.start.launch import Launch, plan_launch
from worker.embedded.start.source import enter
from worker.engine.workspace import StateFolder, open_state
from worker.errors import StartError
from worker.events import Notice, Say
from worker.settings import Settings

_EXTRA_PATHS = "--extra-model-paths-config"
_OPEN = (
    "the page listens on {listen}, port {port}, without a password: whoever reaches it can run any workflow, and read "
    "and write files here. Without --listen only this machine reaches it, and others by a tunnel: "
    "ssh -L {port}:127.0.0.1:{port} HOST"
)


@dataclass(frozen=True)
class Listen:
    """Where the page listens. None: what ``COMFY_ARGS`` says, or ComfyUI's default, this machine on port 8188."""

    addresses: str | None = None
    port: int | None = None

    def flags(self) -> tuple[str, ...]:
        """ComfyUI's flags for this."""
        given = {"--listen": self.addresses, "--port": self.port}
        return tuple(f"{flag}={value}" for flag, value in given.items() if value is not None)


def start_editor(settings: Settings, listen: Listen, say: Say) -> NoReturn:
    """Become ComfyUI. Call it in a process of the worker's own, whose environment holds no secrets any more.

    Raises:
        StartError: there is no tree, page or device, a folder or the port cannot be used, or a flag is wrong.
    """
    _check_place(settings)
    state = open_state(settings.worker_state_dir)
    try:
        source, flags, environment = _prepare(settings, listen, state, say)
        sys.stdout.flush()
        sys.stderr.flush()
        state.keep_after_exec()
        os.execve(sys.executable, [sys.executable, "-u", str(source / "main.py"), *flags], environment)  # noqa: S606
    except BaseException:
        state.close()
        raise


def _check_place(settings: Settings) -> None:
    if settings.comfy_backend == "websocket":
        raise StartError(
            f"COMFY_BACKEND=websocket: the ComfyUI server at {settings.comfy_host} has a page of its own. "
            "Open that one, or start the editor on its machine"
        )
    if settings.runpod_webhook_get_job is not None:
        raise StartError(
            "This is a worker of a serverless endpoint, whose jobs the editor would not take: start the editor in a pod"
        )


def _prepare(
    settings: Settings, listen: Listen, state: StateFolder, say: Say
) -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """The tree, ComfyUI's flags and its environment."""
    given = dict(os.environ)  # Parsing sets variables that ComfyUI sets itself.
    launch = plan_launch(settings, state)
    folder = open_folder(settings, launch.volume, launch.source.base / "input")
    flags = _flags(launch, folder, state, listen)
    enter(launch.source)
    with arguments(flags):
        args = parse_flags()
    if args.disable_all_custom_nodes:
        flags = (*flags, "--whitelist-custom-nodes", *args.whitelist_custom_nodes, NAME)
    for notice in (*launch.notices, *_warnings(launch, folder, args, settings)):
        say(notice)
    check_port(args.listen, args.port)
    say(Notice(f"ComfyUI {launch.source.version} at {launch.source.path}; its files are in {folder.root}"))
    say(Notice(f"workflows are saved in {folder.workflows}"))
    names = {"COMFYUI_PATH": str(launch.source.path), VOLUME: str(launch.volume or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    return launch.source.path, flags, given | names


def _flags(launch: Launch, folder: EditorFolder, state: StateFolder, listen: Listen) -> tuple[str, ...]:
    """ComfyUI's flags: those of the worker's own start, with the editor's folders in place of the worker's."""
    on_volume = launch.volume / "custom_nodes" if launch.volume and launch.packs_on_volume else None
    packs = [on_volume] if on_volume and on_volume.is_dir() else []
    return (
        *("--database-url", f"sqlite:///{state.user / 'comfyui.db'}"),
        *(_node_folders(state.root / "packs-of-volume.yaml", packs) if packs else ()),
        *launch.further,
        *listen.flags(),
        *("--base-directory", str(launch.source.base)),
        *folder.flags(),
        *("--temp-directory", str(state.root)),
        # The last folder, so that this pack is imported after all others.
        *_node_folders(state.root / "own-pack.yaml", [link_pack(state.root / "packs")]),
    )


def _node_folders(file: Path, folders: list[Path]) -> tuple[str, ...]:
    """The flags that let ComfyUI load the node packs in ``folders``."""
    lines = "\n".join(str(folder.absolute()) for folder in folders)
    file.write_text(yaml.safe_dump({"comfy_worker": {"custom_nodes": lines}}), encoding="utf-8")
    return _EXTRA_PATHS, str(file)


def _warnings(launch: Launch, folder: EditorFolder, args: Any, settings: Settings) -> Iterator[Notice]:
    """Raises StartError: the page is not installed."""
    texts = [] if args.front_end_root else list(check_front_end(launch.source.path))
    texts.extend(folder.remarks(launch.volume))
    if launch.volume is None and settings.runpod_pod_id is not None and Path("/workspace").is_dir():
        texts.append("pods have their network volume at /workspace: set NETWORK_VOLUME_PATH=/workspace to read it")
    if is_open(args.listen):
        texts.append(_OPEN.format(listen=args.listen, port=args.port))
    elif os.getpid() == 1:
        texts.append("the page listens inside this container only, for tunnels: a published port needs --listen")
    return (Notice(text, is_warning=True) for text in texts)
