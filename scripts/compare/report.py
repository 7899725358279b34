"""``Report``: all that was found. It is printed as tables, and written as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.differences import Difference, pack_of, short, told
from compare.observed import Pack, Seen

SCHEMA = 1
_WIDTH = 120  # Columns. Where there is no terminal, rich would wrap at 80.
_MOST_LINES = 12  # For one pack or workflow.


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        packs: names of the packs that were asked for.
        found: all differences.
        untried: node classes that ``--each-node`` has not tried, with the reason.
    """

    comfyui: str
    packs: set[str]
    server: Seen
    worker: Seen
    found: list[Difference]
    untried: Mapping[str, str] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether anything differs that does not vary on the server by itself."""
        return any(not one.varies for one in self.found)

    def names(self) -> list[str]:
        """Names of all packs, also of those that only one side has found."""
        return sorted(self.packs | self.server.packs.keys() | self.worker.packs.keys())

    def of(self, where: str, kind: str = "") -> list[Difference]:
        """The differences of a pack or workflow, of one kind if it is given."""
        return [one for one in self.found if one.where == where and kind in ("", one.kind)]


def print_report(report: Report) -> None:
    """Print the tables, the differences, and what they come to."""
    console = Console(soft_wrap=True, highlight=False)
    console.width = max(console.width, _WIDTH)
    console.print(Text(f"ComfyUI {report.comfyui}: the stock server and the worker"))
    if report.names():
        console.print(_table(PACK_HEAD, pack_rows(report)))
    if report.server.runs:
        console.print(_table(RUN_HEAD, run_rows(report)))
    for where in dict.fromkeys(one.where for one in report.found):
        console.print(Text(where, style="bold"))
        lines = [told_difference(one) for one in report.of(where)]
        for line in lines[:_MOST_LINES]:
            console.print(Text(f"  {line}"))
        if len(lines) > _MOST_LINES:
            console.print(Text(f"  … and {len(lines) - _MOST_LINES} more: --json has all of them"))
    console.print(Text(conclusion(report), style="bold"))


PACK_HEAD = ("pack", "server", "worker", "classes", "import", "/object_info")


def pack_rows(report: Report) -> Iterator[Sequence[str]]:
    """A row for each pack."""
    counts = Counter(map(pack_of, report.server.classes.values()))
    for name in report.names():
        times = [_time(side.packs.get(name)) for side in (report.server, report.worker)]
        stem = name.removesuffix(".py")
        yield (name, *times, str(counts[stem]), _verdict(report, name, "import"), _verdict(report, stem, "classes"))
    count = counts["ComfyUI"]
    yield ("ComfyUI's own", "", "", str(count), "", _verdict(report, "ComfyUI", "classes"))


RUN_HEAD = ("workflow", "outcome", "files", "texts", "ui")


def run_rows(report: Report) -> Iterator[Sequence[str]]:
    """A row for each workflow."""
    for name, server in report.server.runs.items():
        outcome = "DIFFERS" if report.of(name, "outcome") else server.outcome
        counts = {"files": len(server.files) + len(server.sent), "texts": len(server.texts), "ui": len(server.ui)}
        cells = (f"{count} {_verdict(report, name, kind)}" if count or report.of(name, kind) else "–"
                 for kind, count in counts.items())  # fmt: skip
        yield (name, outcome, *cells)


def told_difference(one: Difference) -> str:
    """A difference as a line."""
    varies = " (this varies from run to run, on the server as well)" if one.varies else ""
    return f"{one.kind}{f', {one.what}' if one.what else ''}: {one.text}{varies}"


def conclusion(report: Report) -> str:
    """What it comes to, with what fails on both alike."""
    differ = {one.where for one in report.found if not one.varies}
    alike = [f"{name}: {short(pack.error)}" for name, pack in report.server.packs.items()
             if pack.error and name not in differ]  # fmt: skip
    alike += [f"{name}: {told(ran)}" for name, ran in report.server.runs.items()
              if ran.outcome != "success" and name not in differ]  # fmt: skip
    lines = [f"differs: {', '.join(sorted(differ))}" if differ else "nothing differs"]
    if alike:
        lines.append(f"works on neither: {'; '.join(alike)}")
    if report.untried:
        lines.append(f"not tried: {'; '.join(f'{name}: {why}' for name, why in report.untried.items())}")
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """The report for other programs."""
    sides = {"server": report.server, "worker": report.worker}
    return {
        "schema": SCHEMA,
        "comfyui": report.comfyui,
        "differs": report.differs,
        "packs": {name: {side: _pack(seen.packs.get(name)) for side, seen in sides.items()} for name in report.names()},
        "classes": {side: len(seen.classes) for side, seen in sides.items()},
        "workflows": {
            name: {
                side: {
                    "outcome": seen.runs[name].outcome,
                    "lines": seen.runs[name].lines,
                    "files": [*seen.runs[name].files, *(path.name for path in seen.runs[name].sent)],
                    "texts": seen.runs[name].texts,
                    "ui": seen.runs[name].ui,
                }
                for side, seen in sides.items()
            }
            for name in report.server.runs
        },
        "untried": dict(report.untried),
        "differences": [
            {"where": one.where, "kind": one.kind, "what": one.what, "text": one.text, "varies": one.varies}
            for one in report.found
        ],
    }


def _pack(pack: Pack | None) -> dict[str, Any] | None:
    return {"seconds": pack.seconds, "error": pack.error} if pack else None


def _time(pack: Pack | None) -> str:
    if pack is None:
        return "not there"
    return "fails" if pack.error else f"{pack.seconds:.2f} s"


def _verdict(report: Report, where: str, kind: str) -> str:
    found = report.of(where, kind)
    if any(not one.varies for one in found):
        return "DIFFER"
    return "vary" if found else "equal"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    table = Table(*head, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style="bold red" if "DIFFER" in cell else "") for cell in row))
    return table
