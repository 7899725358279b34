"""Draws where the time of a job went, as a PNG or SVG: its phases on a line of time, and its slowest nodes.

The file is an answer with 'metrics': of the endpoint, of /status or /runsync, or of 'python -m worker run --json'.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from command_line import ExitCode, Failure, check_output_files, finish
from matplotlib.axes import Axes

_EPILOG = """\
examples:
  curl localhost:8000/runsync --data @examples/request.json > answer.json && scripts/plot_receipt answer.json
  python -m worker run workflow.json --json > answer.json && scripts/plot_receipt answer.json --out receipt.svg

exit codes: 0 it is drawn; 1 it cannot be written; 2 the command line or the file is wrong; 130 interrupted
"""
_MOST_NODES = 12
_LONGEST_NAME = 48
# The colours of Okabe and Ito, which colour-blind people can tell apart.
_PATH, _BESIDE, _NODE, _CACHED = "#0072B2", "#E69F00", "#009E73", "#8C8C8C"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw one file. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/plot_receipt",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("answer", type=Path, metavar="FILE", help="JSON of an answer; - reads standard input")
    parser.add_argument("--out", type=Path, default=Path("receipt.png"), metavar="FILE", help="default: receipt.png")
    parser.add_argument("--title", default="Where the time of a job went", help="the picture's title")
    options = parser.parse_args(arguments)
    check_output_files(parser, options, "out")
    return finish("plot_receipt", lambda: _run(options), {OSError: ExitCode.FAILED})


def _run(options: argparse.Namespace) -> int:
    metrics = read_metrics(options.answer)
    try:
        draw(metrics, options.out, options.title)
    except ValueError as error:  # An ending that no picture has.
        raise Failure(f"--out {options.out}: {str(error).splitlines()[0]}", ExitCode.USAGE) from None
    print(options.out)
    return ExitCode.OK


def read_metrics(path: Path) -> Mapping[str, Any]:
    """The ``metrics`` in a file.

    Raises:
        Failure: the file cannot be read, is no JSON, or has no metrics.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        answer = json.loads(text)
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror})", ExitCode.USAGE) from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path} is no JSON: {error}", ExitCode.USAGE) from None
    places = (answer, answer.get("output")) if isinstance(answer, dict) else ()
    for place in places:
        metrics = place.get("metrics") if isinstance(place, dict) else None
        if isinstance(metrics, dict) and metrics.get("phases"):
            return metrics
    raise Failure(f"{path} has no 'metrics': is it an answer, and is REPORT_METRICS not off?", ExitCode.USAGE)


def draw(metrics: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw ``metrics``, and write the picture to ``path``.

    Raises:
        ValueError: no picture has this ending.
    """
    phases = metrics["phases"]
    slowest = sorted(metrics.get("nodes", []), key=lambda node: -node["ms"])[:_MOST_NODES]
    rows = [len(phases), *([len(slowest)] if slowest else [])]
    figure, found = plt.subplots(
        len(rows), 1, figsize=(10, 1.6 + 0.32 * sum(rows)), height_ratios=rows, layout="constrained", squeeze=False
    )
    axes = found[:, 0]
    _draw_phases(axes[0], phases, metrics["total_ms"])
    axes[0].set_title(title, loc="left", weight="bold")
    if slowest:
        _draw_nodes(axes[1], slowest)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_phases(axes: Axes, phases: Sequence[Mapping[str, Any]], total_ms: float) -> None:
    for place, row in enumerate(phases):
        beside = row.get("overlaps", False)
        bars = axes.barh(place, row["ms"], left=row["start_ms"], height=0.7, color="none" if beside else _PATH)
        if beside:
            bars[0].set(edgecolor=_BESIDE, hatch="////")
        end = row["start_ms"] + row["ms"]
        axes.annotate(f"{row['ms']:,.1f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    names = [f"{row['phase']} (beside)" if row.get("overlaps") else row["phase"] for row in phases]
    axes.set_yticks(range(len(phases)), names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, total_ms * 1.08 or 1)
    axes.set_xlabel(f"ms from the job's begin; the blue bars add up to {total_ms:,.1f}", fontsize=9)
    _tidy(axes)


def _draw_nodes(axes: Axes, nodes: Sequence[Mapping[str, Any]]) -> None:
    names = [f"{node['node_id']} {node.get('title') or node['class_type']}"[:_LONGEST_NAME] for node in nodes]
    colours = [_CACHED if node["cached"] else _NODE for node in nodes]
    axes.barh(range(len(nodes)), [node["ms"] for node in nodes], height=0.7, color=colours)
    for place, node in enumerate(nodes):
        shown = "cached" if node["cached"] else f"{node['ms']:,.1f}"
        axes.annotate(shown, (node["ms"], place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(nodes)), [name.replace("$", r"\$") for name in names], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(node["ms"] for node in nodes) * 1.1 or 1)
    axes.set_xlabel("ms of the slowest nodes, which are within the execution", fontsize=9)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


if __name__ == "__main__":
    sys.exit(main())
