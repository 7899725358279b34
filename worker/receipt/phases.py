"""The phases of a job. At each moment a job is in one of them, so their times add up to the whole."""

from __future__ import annotations

from typing import Final, Literal

Phase = Literal[
    "parse",
    "fetching",
    "staging",
    "queue",
    "validation",
    "execution",
    "encode",
    "transfer",
    "collection",
    "delivery",
    "upload",
    "reply",
]

IN_TURN: Final = ("validation", "execution", "encode", "transfer")
"""The phases in which a job has its turn, so that no other job can use the GPU."""

# A job goes on from one line to the next, and as it likes within a line.
_ORDER = (
    ("parse",),
    ("fetching",),
    ("staging",),
    ("queue",),
    (*IN_TURN, "collection"),
    ("delivery", "upload"),
    ("reply",),
)
RANK: Final[dict[str, int]] = {phase: rank for rank, phases in enumerate(_ORDER) for phase in phases}
