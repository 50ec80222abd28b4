"""The tables of the page: a number's interval, method and n stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.analysis.frames import Frames
from sweeper.analysis.wording import number

MOST_ROWS = 400  # of the table of cells
HASH = 12  # digits of a cell's hash


@dataclass(frozen=True)
class Table:
    """Cells are text; `numeric` columns stand to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""


def tabulate(
    caption: str,
    *,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    words_in: int,
    note: str = "",
) -> Table:
    """A table whose first `words_in` columns are words and the rest numbers."""
    right = frozenset(range(words_in, len(head)))
    return Table(caption, tuple(head), tuple(tuple(row) for row in rows), right, note)


def span(low: float, high: float, *, unit: str) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "n/a"
    return f"{number(low, unit=unit)} to {number(high, unit=unit)}"


def p_value(p: float) -> str:
    if not math.isfinite(p):
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def reached(frames: Frames, epoch: int) -> str:
    """Where a run ended: `at epoch 7`, or `after evaluation 2` under a step budget."""
    by_steps = frames.sweep.spec["budget"]["unit"] == "steps"
    return f"after evaluation {epoch}" if by_steps else f"at epoch {epoch}"
