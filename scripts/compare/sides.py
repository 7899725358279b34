"""Starts each side with packs and settings of its own, and runs all workflows on it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contenders.setup import EMBEDDED, Setup
from bench.progress import Progress
from command_line import ExitCode, Failure

from compare.observed import FAILED, REFUSED, SAME_ORDER, SUCCESS, Seen, Side
from compare.options import Case, Options
from compare.server_side import ServerSide
from compare.worker_side import WorkerSide
from worker.embedded.start.source import ComfySource
from worker.settings import Settings

SERVER, WORKER, SECOND_SERVER = "server", "worker", "second-server"
_SHOWN = {SERVER: "the stock server", WORKER: "the worker", SECOND_SERVER: "a second stock server"}
_LARGE = 50_000_000  # Bytes above which a file is linked. Packs keep models in their folders.
_LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__")


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        settings: the settings in the environment.
        user: the user's ComfyUI tree and base directory.
        bases: a folder for the base directories of the sides.
        files: a folder for the files that the sides save, and their logs.
    """

    settings: Settings
    user: ComfySource
    bases: Path
    files: Path

    def flags(self) -> tuple[str, ...]:
        """Flags of ComfyUI for all sides."""
        paths = self.user.base / "extra_model_paths.yaml"
        return (*self.settings.comfy_args, *(("--extra-model-paths-config", str(paths)) if paths.is_file() else ()))


def observe(
    name: str,
    options: Options,
    plan: Callable[[Seen], Sequence[Case]],
    places: Places,
    progress: Progress,
) -> Seen:
    """Start the side ``name``, and run what ``plan`` gives, one after the other. If it ends, it is started anew.

    Args:
        name: ``SERVER``, ``WORKER`` or ``SECOND_SERVER``.
        options: what the command line asks for.
        plan: gets what was seen of the side's start, and returns the workflows to run.
        places: where everything is.
        progress: what is told meanwhile.

    Raises:
        Failure: it does not start.
    """
    progress.begin(f"{_SHOWN[name]} with {len(options.packs)} packs starts", 1)
    side, seen, waiting = _side(name, options, places), None, list[Case]()
    while seen is None or waiting:
        try:
            with side.start() as started:
                if seen is None:
                    seen, waiting = started, list(plan(started))
                    progress.begin(f"{_SHOWN[name]}: {len(waiting)} workflows", len(waiting))
                while waiting:
                    case = waiting.pop(0)
                    ran = seen.runs[case.name] = side.run(case, places.files / name / case.name)
                    progress.advance()
                    if ran.outcome not in (SUCCESS, FAILED, REFUSED):
                        break  # It may have ended, or be about to.
        except RuntimeError as error:
            words = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
            raise Failure(f"{_SHOWN[name]} does not start: {words.strip()}", ExitCode.CANNOT_START) from None
    return seen


def _side(name: str, options: Options, places: Places) -> Side:
    settings = places.settings
    base = _make_base(places.bases / name, options.packs, places.user.base)
    log = places.files / name / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    if name != WORKER:
        metadata = () if settings.save_metadata else ("--disable-metadata",)
        flags = (*metadata, *places.flags())
        return ServerSide(places.user.path, base, flags, options.timeout_s, settings.output_folders, log)
    source = replace(places.user, base=base)
    environment = Setup(settings, source, None, places.files).environment(
        EMBEDDED,
        COMFY_ARGS=shlex.join(places.flags()),
        MAX_RESPONSE_MB="100000",
        NETWORK_VOLUME_PATH=str(places.bases / "no-volume"),
        OUTPUT_FOLDERS=",".join(settings.output_folders),
        SAVE_METADATA=str(settings.save_metadata).lower(),
        WARMUP_WORKFLOW="",
        **SAME_ORDER,
    )
    return WorkerSide(environment, options.timeout_s, log)


def _make_base(folder: Path, packs: Iterable[Path], user_base: Path) -> Path:
    """Make ``folder`` a base directory with ``packs``, and with what ``user_base`` has besides packs."""
    (folder / "custom_nodes").mkdir(parents=True)
    for pack in packs:
        target = folder / "custom_nodes" / pack.name
        if pack.is_dir():
            shutil.copytree(pack, target, ignore=_LEFT_OUT, copy_function=_copy, ignore_dangling_symlinks=True)
        else:
            _copy(str(pack), str(target))
    for name in ("models", "input"):
        if (user_base / name).is_dir():
            (folder / name).symlink_to((user_base / name).resolve())
        else:
            (folder / name).mkdir()
    return folder


def _copy(source: str, target: str) -> None:
    if os.stat(source).st_size > _LARGE:  # noqa: PTH116
        Path(target).symlink_to(Path(source).resolve())
    else:
        shutil.copy2(source, target)
