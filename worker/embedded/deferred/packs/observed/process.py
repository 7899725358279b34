"""What a node pack may change in the process and in ComfyUI's server, beside modules."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from worker.embedded.deferred.packs.observed.frozen import frozen, frozen_object

_FOLDERS = ("get_input_directory", "get_output_directory", "get_temp_directory", "get_user_directory")


class ProcessState:
    """A picture of it, to compare with a later one.

    Args:
        main: ComfyUI's ``main`` module.
    """

    def __init__(self, main: Any) -> None:
        self._parts = dict(_parts(main))
        self._threads = set(threading.enumerate())

    def changes(self, later: ProcessState) -> Iterator[str]:
        """A line for each thing that is another in ``later``."""
        for words, part in later._parts.items():
            if part != self._parts[words]:
                yield f"it {words}"
        if started := later._threads - self._threads:
            yield f"it starts threads: {', '.join(sorted(thread.name for thread in started))[:200]}"


def _parts(main: Any) -> Iterator[tuple[str, Any]]:
    server, app = main.server.PromptServer.instance, main.server.PromptServer.instance.app
    yield "adds routes to ComfyUI's server", [len(server.routes), len(app.router.routes()), len(app.router.resources())]
    yield "has on-prompt handlers", frozen(list(server.on_prompt_handlers))
    signals = (app.on_startup, app.on_shutdown, app.on_cleanup, app.on_response_prepare, app.middlewares)
    yield "hooks into ComfyUI's server", frozen([list(each) for each in signals])
    others = ("routes", "app", "on_prompt_handlers")
    attributes = {name: value for name, value in vars(server).items() if name not in others}
    yield "changes ComfyUI's server", [frozen(attributes), *(_inner(value) for value in attributes.values())]
    yield "changes ComfyUI's flags", frozen_object(main.args)
    yield "handles signals", {number: frozen(signal.getsignal(number)) for number in signal.valid_signals()}
    # torch notes there where its compiler keeps files, as soon as its compiler is imported.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TORCH", "KMP_"))}
    yield "changes environment variables", environment
    yield "changes where Python finds modules", frozen([sys.path, sys.meta_path, sys.path_hooks])
    yield (
        "replaces hooks of Python",
        frozen([sys.excepthook, threading.excepthook, sys.displayhook, sys.unraisablehook]),
    )
    yield "changes settings of Python", [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), os.getcwd(),  # noqa: PTH109
                                         frozen(asyncio.get_event_loop_policy())]  # fmt: skip
    yield "starts tasks on the server's loop", frozen(sorted(map(id, asyncio.all_tasks(server.loop))))
    yield "changes settings of torch", _torch()
    yield "makes files or folders in ComfyUI's folders", list(_listed(main.folder_paths))
    yield (
        "adds folders of models",
        {
            name: ([*paths], sorted(endings))
            for name, (paths, endings) in main.folder_paths.folder_names_and_paths.items()
        },
    )
    yield "changes what ComfyUI's page loads", frozen(main.nodes.EXTENSION_WEB_DIRS)


def _inner(value: Any) -> Any:
    """The attributes of a part of ComfyUI's server, such as its table of replaced nodes."""
    module = type(value).__module__.partition(".")[0]
    return frozen_object(value) if module in ("app", "comfy_execution", "server", "execution", "api_server") else None


def _torch() -> list[Any]:
    torch: Any = sys.modules["torch"]
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return [
        torch.get_default_dtype(), str(torch.get_default_device()), torch.get_num_threads(),
        torch.get_float32_matmul_precision(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cuda.matmul.allow_tf32,
        cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(),
    ]  # fmt: skip


def _listed(folder_paths: Any) -> Iterator[str]:
    for folder in (*(getattr(folder_paths, name)() for name in _FOLDERS), folder_paths.models_dir):
        for path, folders, files in os.walk(folder):
            yield path
            if path != folder and folder == folder_paths.models_dir:
                folders.clear()  # Models may be many.
            else:
                yield from (os.path.join(path, name) for name in files if not name.endswith((".db", ".lock", ".log")))  # noqa: PTH118
