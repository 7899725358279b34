"""The options of ``python -m worker prepare``. It imports nothing slow."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
a FILE is one of
  workflow.json            a workflow as ComfyUI's editor saves it. It says where its models are (properties.models)
                           and which packs its nodes belong to. An API graph names its models only
  request.json, a.png      a request, or a picture, sound or video that carries a workflow
  snapshot.json            a snapshot of ComfyUI-Manager: node packs at their revisions
  comfy-build.yaml         models and packs, exactly (schema comfy-build/1). --lock writes one

examples
  python -m worker prepare workflow.json                        what it needs, what is there, what would be fetched
  python -m worker prepare workflow.json --yes                  fetch the models
  python -m worker prepare workflow.json --yes --install-packs  the node packs as well
  python -m worker prepare workflow.json --lock comfy-build.yaml
  docker build --build-arg ENVIRONMENT=comfy-build.yaml -t my-worker .

what is interrupted goes on where it ended. A second run takes a second: what was checked is remembered beside the file.
HF_TOKEN and CIVITAI_TOKEN are sent to huggingface.co and civitai.com, and nowhere else.

exit codes: 0 all is there (with --lock and without --yes: all could be written exactly), 1 something is missing or
failed, 2 the command line or a FILE is wrong, 3 ComfyUI was not found, 130 interrupted
"""


def add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    prepare = commands.add_parser(
        "prepare",
        help="say what a workflow needs, models and node packs, and get it",
        description="Say which models and node packs a workflow needs, which are there, and which would be fetched: "
        "how large, and from where. Fetches models only with --yes, and installs packs, whose code will run, only with "
        "--install-packs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    prepare.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="what is to be able to run here; see below"
    )
    prepare.add_argument("--yes", action="store_true", help="fetch the models that are missing")
    prepare.add_argument("--install-packs", action="store_true", help="install the packs that are missing")
    prepare.add_argument("--lock", type=Path, metavar="FILE", help="write exact revisions and hashes into this file")
    prepare.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="the models folder that gets new files, one that ComfyUI reads (default: that of the network volume)",
    )
    prepare.add_argument(
        "--pickles", action="store_true", help="also fetch .ckpt, .pt, .pth and .bin, which can run code when loaded"
    )
    prepare.add_argument(
        "--new-folders", action="store_true", help="also make model folders that only a node pack knows"
    )
    prepare.add_argument(
        "--any-host", action="store_true", help="also fetch over plain http, and from hosts of a private network"
    )
    prepare.add_argument("--verify", action="store_true", help="read the files that are there again, to check them")
    prepare.add_argument("--at-once", type=_count, default=4, metavar="N", help="files fetched at once (default: 4)")
    prepare.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 32")
    return int(text)
