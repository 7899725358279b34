"""Parses the command line of ``python -m worker``. It imports nothing slow, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from worker.cli.exit_code import ExitCode
from worker.cli.index.options import add_index
from worker.cli.prepare.options import add_prepare

_EXIT_CODES = "\n".join(f"  {code:<4} {code.meaning}" for code in ExitCode)
_EPILOG = f"""\
exit codes:
{_EXIT_CODES}

Settings come from environment variables; 'python -m worker check' prints them all.
"""

_FILE = (
    "a workflow as ComfyUI's editor saves or exports it, a request as sent to the endpoint, or a PNG, WebP, JPEG, FLAC "
    "or MP4 file that carries a workflow; or the name of a workflow in WORKFLOWS_DIR"
)
_RUN_EPILOG = """\
examples:
  python -m worker run examples/landscape.json
  python -m worker run workflow.json --image photo.png --set 3.seed=42 --out results
  WORKFLOWS_DIR=workflows python -m worker run portrait --set "Positive prompt.text=a lake"
  python -m worker run request.json --json | jq '.files[].path'
  GPU_PRICE_PER_HOUR=2.69 python -m worker run workflow.json --metrics
"""

_SERVE_EPILOG = """\
examples:
  SERVE_API_LOCALLY=true python -m worker
  python -m worker serve --rp_serve_api --rp_api_port 9000
  python -m worker --test_input '{"input": {"workflow": {…}}}'
"""

_EDITOR_EPILOG = """\
examples:
  python -m worker editor                                   # then open http://127.0.0.1:8188
  WORKFLOWS_DIR=workflows python -m worker editor --port 9000
  docker run --gpus all -p 127.0.0.1:8188:8188 -v ./workflows:/workflows IMAGE editor --listen

The page is in a package of its own, which ComfyUI's requirements.txt names. If it is missing, the command that installs
it is printed. Exit codes are ComfyUI's own once it runs.
"""

_CONVERT_EPILOG = """\
examples:
  python -m worker convert portrait.json > portrait-api.json
  python -m worker convert ComfyUI_00001_.png
  python -m worker convert workflows/*.json --out graphs
"""

_MODELS_EPILOG = """\
examples:
  python -m worker models workflow.json
  NETWORK_VOLUME_PATH=/workspace python -m worker models workflow.json --json | jq -r '.[] | select(.problem) | .name'
"""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The options of one command, with its name in ``command``; ``serve`` if ``arguments`` name none.

    Raises:
        SystemExit: the arguments are wrong, or ask for help.
    """
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["serve", *arguments]  # As with RunPod's SDK: python -m worker --test_input '{…}'
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Runs ComfyUI workflows inside this process. Without a command it serves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(commands)
    _add_serve(commands)
    _add_editor(commands)
    _add_convert(commands)
    _add_models(commands)
    add_prepare(commands)
    _add_check(commands)
    add_index(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run one workflow and write its files",
        description="Run one workflow and write the files that it saves.",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=_FILE,
    )
    run.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="an input file, under the NAME that the workflow uses (default: its file name); may be repeated",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NODE.INPUT=VALUE",
        help="change one input of a node, given by id or title; VALUE is JSON or else text, of the type that the input "
        "takes; may be repeated",
    )
    run.add_argument("--out", type=Path, default=Path("output"), metavar="DIR", help="where files go (default: output)")
    run.add_argument(
        "--metrics",
        action="store_true",
        help="show on standard error where the time went: phases, the slowest nodes, models, memory, and the cost if "
        "GPU_PRICE_PER_HOUR is set",
    )
    run.add_argument(
        "--json", action="store_true", help="print the result as JSON on standard output, and nothing else"
    )


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="take jobs from RunPod, or serve its API on this machine (default)",
        description="On RunPod: take jobs from the platform. With SERVE_API_LOCALLY=true: serve RunPod's API on this "
        "machine. Otherwise: run the one job of --test_input or test_input.json. The flags are those of RunPod's SDK.",
        epilog=_SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--test_input", metavar="JSON", help="run this one job, print its answer and end")
    serve.add_argument("--rp_serve_api", action="store_true", help="serve the local API (SERVE_API_LOCALLY)")
    serve.add_argument("--rp_api_host", metavar="HOST", help="where it listens (LOCAL_API_HOST)")
    serve.add_argument("--rp_api_port", metavar="PORT", type=_port, help="where it listens (LOCAL_API_PORT)")
    for ignored in ("--rp_debugger", "--rp_api_concurrency"):
        serve.add_argument(
            ignored, nargs="?", help=argparse.SUPPRESS
        )  # RunPod's SDK takes these options. They have no effect here.
    serve.add_argument(
        "--rp_log_level",
        type=str.upper,
        choices=["ERROR", "WARN", "INFO", "DEBUG"],
        help="how much RunPod's SDK logs (RUNPOD_LOG_LEVEL)",
    )


def _add_editor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    editor = commands.add_parser(
        "editor",
        help="start ComfyUI with its own page, to draw workflows where they will run",
        description="Start stock ComfyUI with its own page in place of the worker, on the same tree, models, node "
        "packs and flags (COMFY_ARGS). It takes no jobs. What is saved in the page goes to WORKFLOWS_DIR, so that "
        "requests and 'run' find it by name. The page's settings, uploads and results stay in EDITOR_DIR.",
        epilog=_EDITOR_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    editor.add_argument(
        "--listen",
        nargs="?",
        const="0.0.0.0",  # noqa: S104 - the user asks for it, and is warned.
        metavar="IP",
        help="let other machines reach the page, at this address of this machine or at all (default: only this "
        "machine). It has no password",
    )
    editor.add_argument("--port", metavar="PORT", type=_port, help="where it listens (default: 8188)")


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="print settings and what a job would find here; fails where none could run",
        description="Print every setting, the bucket, ComfyUI, the device, model folders, node packs and the workflows "
        "that run by name. Ends with 0 if a job and each of these workflows could run, 1 or 3 if not.",
    )
    only = check.add_mutually_exclusive_group()
    only.add_argument(
        "--bucket",
        action="store_true",
        help="check only the bucket: store a small object, read it back, also through its presigned URL, and delete "
        "it; fails where a file could not be stored or fetched",
    )
    only.add_argument(
        "--timings",
        action="store_true",
        help="start as a worker that serves RunPod does, with WARMUP_WORKFLOW, and print how long each step took",
    )


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    convert = commands.add_parser(
        "convert",
        help="turn workflows that ComfyUI's editor has saved into API graphs",
        description="Turn workflows that ComfyUI's editor has saved into the API graphs that its page would send. This "
        "needs the node classes that the workflows use: those of the ComfyUI here, or with COMFY_BACKEND=websocket "
        "those of the server. Prints the graph of one file, or writes DIR/NAME.json for each of several. A file whose "
        "nodes do not fit is named with the reason, and the others are converted all the same. Ends with 0 if all were "
        "converted, else 1.",
        epilog=_CONVERT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument("files", type=Path, nargs="+", metavar="FILE", help=_FILE)
    convert.add_argument(
        "--out", type=Path, metavar="DIR", help="write each graph to DIR/NAME.json, and print the paths"
    )


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    models = commands.add_parser(
        "models",
        help="list the model files that a workflow names: which are there, and where the others belong",
        description="List the model files that a workflow names, with their sizes on disk; for those that are missing, "
        "where they would have to lie and what lies nearly there. Ends with 0 if all are there and look well, else 1.",
        epilog=_MODELS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models.add_argument("file", type=Path, metavar="WORKFLOW", help=_FILE)
    models.add_argument("--json", action="store_true", help="print the list as JSON on standard output")


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port number: it takes 0 to 65535")
    return number
