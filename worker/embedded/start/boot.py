"""Starts ComfyUI inside this process, through its own ``main`` module.

What ``main`` does when it is imported (flags, logger, paths, prestart scripts, in newer versions the memory manager) is
left to each version. This module only does what ``main`` skips because its name is not ``__main__``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.embedded import versions
from worker.embedded.bytecode.switch import keep_bytecode
from worker.embedded.cache.fingerprint import JobContent, install_fingerprints
from worker.embedded.cache.node_cache import NodeCache
from worker.embedded.cache.reuse import FileReuse
from worker.embedded.deferred.packs.observed.observer import PackObserver
from worker.embedded.deferred.switch import LateImports
from worker.embedded.executor import build_executor
from worker.embedded.files.cached_models import CachedModels, hub_of
from worker.embedded.files.folders import ComfyFolders
from worker.embedded.files.job_files import OutputFiles
from worker.embedded.files.model_folders import add_volume, survive_removed_folders
from worker.embedded.guards.install import guard_execution
from worker.embedded.guards.paths import guard_paths
from worker.embedded.guards.readers import guard_readers
from worker.embedded.memory.broken_device import watched_device
from worker.embedded.memory.plain_nodes import make_job_memory
from worker.embedded.models.loading import tell_of_loading
from worker.embedded.models.times import measure_models
from worker.embedded.node_classes import NodeClasses
from worker.embedded.pack_routes import PackRoutes
from worker.embedded.prompts import PromptRunner
from worker.embedded.runtime import Runtime
from worker.embedded.save_image import take_over_save_image
from worker.embedded.server import make_server
from worker.embedded.start.device import check_device, device_text
from worker.embedded.start.flags import arguments, parse_flags
from worker.embedded.start.launch import Launch, plan_launch
from worker.embedded.start.loops import server_loop
from worker.embedded.start.manager import put_manager_offline
from worker.embedded.start.node_packs import NodePack, off_main_thread, recording_packs
from worker.embedded.start.source import ComfySource, enter
from worker.engine.workspace import StateFolder
from worker.errors import NoDevice, StartError
from worker.events import Notice, Say
from worker.logs import own_logging
from worker.settings import Settings
from worker.start_steps import STEPS

_booted: Runtime | None = None
_import_began = False
_boot_lock = threading.Lock()


def boot(settings: Settings, state: StateFolder, say: Say, observer: PackObserver | None = None) -> Runtime:
    """Start ComfyUI in this process, once. Later calls return the same runtime.

    Args:
        settings: they name the tree and the flags.
        state: holds ComfyUI's folders. Later calls ignore it, since ComfyUI's folders never change.
        say: called with each warning and with each step that begins.
        observer: looks at the node packs as they are imported.

    Raises:
        StartError: there is no tree or no device, ComfyUI does not know a flag or cannot be imported, it already runs
            with other settings, or an earlier start has failed in the middle.
    """
    global _booted
    with _boot_lock:
        if _booted is not None:
            _check_same(_booted.launch, plan_launch(settings, _booted.state), say)
        elif _import_began:
            raise StartError(
                "An earlier start of ComfyUI failed or was interrupted in this process, and Python cannot import it "
                "twice: use a new process (in a notebook, restart the kernel)"
            )
        else:
            _booted = _boot(settings, state, say, observer)
        return _booted


def _check_same(running: Launch, asked: Launch, say: Say) -> None:
    """Raise StartError if ``asked`` is another ComfyUI than the ``running`` one. Say what is new to the operator."""
    for notice in asked.notices:
        if notice not in running.notices:
            say(notice)
    difference = running.difference(asked)
    if difference is not None:
        raise StartError(
            f"ComfyUI already runs in this process with other settings: {difference}. "
            "Use the same settings, or another process"
        )


def _boot(settings: Settings, state: StateFolder, say: Say, observer: PackObserver | None) -> Runtime:
    on_pod = settings.runpod_pod_id is not None
    launch = _plan(settings, state, say)
    source, volume = launch.source, launch.volume
    folders = ComfyFolders(state, source.base / "input", settings.output_folders)
    folders.make_output_folders()  # Before packs are imported, which may look at once.
    late = LateImports(settings, launch, say, observer)
    enter(source)
    keep_bytecode(settings, launch)
    with arguments(launch.flags), own_logging(settings), server_loop() as loop:
        say(Notice(f"importing ComfyUI {source.version}"))
        with STEPS.step("core"), STEPS.import_as_step("torch"):
            _begin_import(late)
            folder_paths = importlib.import_module("folder_paths")
            guard_paths(folder_paths, folders.is_static)
            survive_removed_folders(folder_paths)
            cached = CachedModels(hub_of(volume, is_on=settings.cached_models == "auto"), state.root / "cached")
            _add_volume(folder_paths, volume, cached, packs=launch.packs_on_volume)
            put_manager_offline(folder_paths.get_folder_paths("custom_nodes"), state.user, source.base / "user")
            main = _import_main(source, late, on_pod=on_pod)
            guard_readers(state)
        check_device(importlib.import_module("torch"), main.comfy.model_management.get_torch_device(), on_pod=on_pod)
        say(Notice("importing nodes"))
        with STEPS.step("nodes"):
            server, packs = _start_server(main, state, loop, late)
        for notice in off_main_thread(packs):
            say(notice)
        _add_volume(folder_paths, volume, cached, packs=False)  # For the model folders that packs have added.
    # The samplers' own bars on stderr belong to the log. Events report progress without them.
    main.comfy.utils.set_progress_bar_enabled(settings.comfy_log_level in ("DEBUG", "INFO"))
    admission = guard_execution(main, late)
    _keep_datasets_apart(main.folder_paths, state)
    folders.keep_what_packs_made()
    executor = build_executor(main, server)
    routes = PackRoutes(server, lambda: folder_paths.get_folder_paths("custom_nodes"))
    files = _care_for_files(main, executor, state, routes)
    memory = watched_device(main, executor)
    prompts = PromptRunner(main, server, executor, routes)
    jobs = make_job_memory(main, server, NodeCache(executor), state.root)
    return Runtime(launch, folders, packs, late.packs, main, prompts, files, memory, jobs, admission, cached)


def _plan(settings: Settings, state: StateFolder, say: Say) -> Launch:
    say(Notice("looking for ComfyUI"))
    with STEPS.step("find"):
        launch = plan_launch(settings, state)
    for notice in launch.notices:
        say(notice)
    if warning := versions.untried(launch.source.version):
        say(Notice(warning, is_warning=True))
    return launch


def _begin_import(late: LateImports) -> None:
    """Let ComfyUI parse its flags. From here on its modules, and torch, keep what they have found."""
    global _import_began
    parse_flags()
    _import_began = True
    late.begin()


def _care_for_files(main: Any, executor: Any, state: StateFolder, routes: PackRoutes) -> OutputFiles:
    """Connect SaveImage and ComfyUI's cache to the files of the job that runs."""
    classes = NodeClasses(main)
    reuse = FileReuse(NodeCache(executor), state.output, state.temp, state.kept)
    files = OutputFiles(state.output, reuse, classes, routes)
    take_over_save_image(main, state.output, lambda: files.current)
    no_job = JobContent()
    install_fingerprints(main.execution, classes, lambda: files.current.content if files.current else no_job)
    return files


def _add_volume(folder_paths: Any, volume: Path | None, cached: CachedModels, *, packs: bool) -> None:
    if volume is not None:
        add_volume(folder_paths, volume)
        cached.add_to(folder_paths)
        if packs and (volume / "custom_nodes").is_dir():
            folder_paths.add_model_folder_path("custom_nodes", str(volume / "custom_nodes"))


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _import_main(source: ComfySource, late: LateImports, *, on_pod: bool) -> Any:
    try:
        main = importlib.import_module("main")
    except ImportError as error:
        raise StartError(f"ComfyUI {source.version} needs a package that is not installed: {error}") from error
    except (RuntimeError, AssertionError) as error:
        # torch raises these errors if the driver shows a device that torch cannot use.
        if "cuda" in str(error).lower() or "nvidia" in str(error).lower():
            raise NoDevice(device_text(error, on_pod=on_pod)) from error
        raise StartError(f"ComfyUI {source.version} cannot be imported: {error}") from error
    measure_models(main)
    late.end_of_core()
    return main


def _keep_datasets_apart(folder_paths: Any, state: StateFolder) -> None:
    """Put a folder in the output folder first among the dataset folders, since nodes write datasets into the first."""
    if versions.has_datasets(folder_paths):
        folder_paths.add_model_folder_path("datasets", str(state.output / "datasets"), is_default=True)


def _start_server(
    main: Any, state: StateFolder, loop: asyncio.AbstractEventLoop, late: LateImports
) -> tuple[Any, list[NodePack]]:
    """Do what ``main.start_comfyui`` does, but do not listen, and start no thread for prompts."""
    main.folder_paths.set_temp_directory(str(state.temp))
    server = make_server(main.server.PromptServer, loop, versions.make_asset_manager(main))
    tell_of_loading(main, server)
    hooks = main.hook_breaker_ac10a0
    hooks.save_functions()
    args = main.args
    with late.node_classes(main), recording_packs(main.nodes, late.packs.records) as packs:
        # Import packs on this thread, as a stock start does: some packs install signal handlers when they are imported,
        # which is allowed only on the main thread.
        loop.run_until_complete(
            main.nodes.init_extra_nodes(
                init_custom_nodes=not args.disable_all_custom_nodes or len(args.whitelist_custom_nodes) > 0,
                init_api_nodes=versions.wants_partner_nodes(args),
            )
        )
    versions.disable_nodes(main)
    versions.choose_cudnn_algorithms(main)
    versions.read_grey_of_16_bits(main)
    hooks.restore_functions()
    main.cuda_malloc = importlib.import_module("cuda_malloc")
    main.cuda_malloc_warning()
    versions.set_up_assets(main)
    with _no_log():  # ComfyUI would warn that front-end packages are missing, which are not needed here.
        server.add_routes()
    main.hijack_progress(server)
    loop.run_until_complete(server.setup())
    threading.Thread(target=loop.run_forever, name="comfy-server", daemon=True).start()
    return server, packs
