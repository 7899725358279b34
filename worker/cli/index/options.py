"""The options of ``python -m worker index``. It imports nothing slow."""

from __future__ import annotations

import argparse

_EPILOG = """\
Make the index again after any change of the packs, of ComfyUI or of the installed Python packages. An image that makes
it while it is built (RUN python -m worker index) has it in each container. With VOLUME_CUSTOM_NODES=true it lies on the
network volume, for all workers that have it.

exit codes: 0 the index is written, 1 it cannot be written, 3 ComfyUI cannot start
"""


def add_index(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    index = commands.add_parser(
        "index",
        help="find out which node packs can be imported when a job needs them (LAZY_CUSTOM_NODES)",
        description="Import every node pack, and find out which node classes it has and whether others can tell that "
        "it was imported: routes, handlers, threads, folders, functions of ComfyUI, torch or Pillow that it replaces. "
        "Such packs are imported at each start; with LAZY_CUSTOM_NODES=true the others wait until a job needs them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    index.add_argument("--json", action="store_true", help="print the table as JSON on standard output")
    index.add_argument("--backwards", action="store_true", help=argparse.SUPPRESS)  # For its own second process.
