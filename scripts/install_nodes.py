"""Installs node packs with their requirements beside the torch that is installed here.

A pack whose requirements cannot be met with this torch is refused and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# ``worker`` finds ComfyUI. It is imported from this checkout, since the Python that gets the packages may not have it.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from command_line import ExitCode, Failure, fail, finish
from node_packs.destination import Destination, NoDestination, find_destination
from node_packs.failure import PackFailed
from node_packs.install import Outcome, Plan, install_pack
from node_packs.packages import read_packages
from node_packs.registry import DEFAULT_REGISTRY, registry_address
from node_packs.source import NoSource, Source, parse_source

_PROGRAM = "install-nodes"
_EPILOG = f"""\
a PACK is one of
  comfyui-kjnodes                                  the newest version in the Comfy Registry (https://registry.comfy.org)
  comfyui-kjnodes@1.0.8                            that version
  https://github.com/kijai/ComfyUI-KJNodes         the default branch; the commit to pin is printed
  https://github.com/kijai/ComfyUI-KJNodes@3f20054 a commit, a tag or a branch
  git@github.com:owner/private-pack.git@v2         any address that git takes, or a path of this machine

examples
  install-nodes comfyui-kjnodes comfyui-ic-light
  install-nodes --requirements packs.txt           a PACK a line; # begins a comment
  install-nodes --dry-run https://github.com/kijai/ComfyUI-KJNodes
  RUN comfy-node-install comfyui-kjnodes@1.0.8     in a Dockerfile: a pack that fails fails the build

torch, torchvision, torchaudio, Triton and NVIDIA's CUDA packages stay at the installed versions, also for what a pack's
install.py installs. Other packages that a pack replaces are told. A pack that is there in another revision is replaced,
with the files that it has written into its folder.

environment:
  COMFY_BASE_DIR, COMFYUI_PATH   whose custom_nodes gets the packs, where there is no --into
  COMFY_REGISTRY_URL             another registry than {DEFAULT_REGISTRY}

exit codes: 0 all are installed, 1 some are not, 2 wrong use, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        sources = _sources(options.packs, options.requirements)
        destination = find_destination(options.into, os.environ)
    except (NoSource, NoDestination, OSError, UnicodeDecodeError) as error:
        return fail(_PROGRAM, _text(error), ExitCode.USAGE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    return finish(
        _PROGRAM,
        lambda: _install(sources, destination, options),
        {PackFailed: ExitCode.FAILED},
        interrupted="interrupted; the pack that was under way is not installed",
    )


def _install(sources: Sequence[Source], destination: Destination, options: argparse.Namespace) -> ExitCode:
    try:
        with tempfile.TemporaryDirectory(prefix="install-nodes-") as scratch:
            if not options.dry_run:
                destination.custom_nodes.mkdir(parents=True, exist_ok=True)
            packages = read_packages(Path(scratch))
            if "torch" not in packages.protected:
                _say(f"warning: {sys.executable} has no torch, so packs may install any")
            script = not options.no_install_script
            plan = Plan(destination, packages, registry_address(), options.dry_run, script, _say)
            outcomes = [install_pack(source, plan) for source in sources]
    except OSError as error:
        raise Failure(_text(error)) from None
    return _tell(outcomes, plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("packs", metavar="PACK", nargs="*", help="what to install; see below")
    parser.add_argument("--requirements", type=Path, metavar="FILE", help="a file with further packs, one a line")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="the folder that gets the packs")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; install nothing")
    parser.add_argument("--no-install-script", action="store_true", help="do not run the packs' install.py")
    return parser


def _sources(texts: Sequence[str], requirements: Path | None) -> list[Source]:
    """The packs that the command line and the file name, without repetition.

    Raises:
        NoSource: no pack is named, a name cannot be read, or two packs would have the same folder.
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements else []
    named = [line.partition(" #")[0].strip() for line in lines if not line.lstrip().startswith("#")]
    sources = list(dict.fromkeys(parse_source(text) for text in (*texts, *filter(None, named))))
    if not sources:
        raise NoSource("no pack is named: install-nodes NAME|URL@REVISION … (--help has examples)")
    by_folder: dict[str, Source] = {}
    for source in sources:
        if by_folder.setdefault(source.folder.lower(), source) != source:
            raise NoSource(f"{by_folder[source.folder.lower()]} and {source} would lie in one folder: name one of them")
    return sources


def _text(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)


def _interrupt(_number: int, _frame: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # A second signal must not interrupt the undoing of a step.
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"{_PROGRAM}: {text}", flush=True)


def _tell(outcomes: Sequence[Outcome], plan: Plan) -> ExitCode:
    rows = [("pack", "version", "packages", "outcome")]
    for each in outcomes:
        packages = ", ".join(map(str, each.packages)) if len(each.packages) < 3 else f"{len(each.packages)} packages"
        version = each.version[:12] if len(each.version) == 40 else each.version
        rows.append((str(each.source), version or "-", packages or "-", each.outcome))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for *cells, outcome in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), outcome, sep="  ")
    failed = [each for each in outcomes if each.reason]
    if failed:
        print(f"\n{len(failed)} of {len(outcomes)} packs not installed:", file=sys.stderr)
    for each in failed:
        print(f"  {each.source}: {each.outcome}: {each.reason}", file=sys.stderr)
    if len(failed) < len(outcomes) and not plan.dry_run:
        print(f"\nThey lie in {plan.destination.custom_nodes}. Whether they load: python -m worker check")
    return ExitCode.FAILED if failed else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
