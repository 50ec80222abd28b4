"""The grid of cells and replicates: a square a run, as text that a page keeps and patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sweeper.store.glance import FAILED, RUNNING
from sweeper.store.records import Cell
from sweeper.watch.progress import PARTS, WholePlan
from sweeper.watch.regions import label, words

MOST_LABELS = 120  # rows with a label; more cells are blocks of squares without
SHARES = 10  # steps in which a running run's square fills


@dataclass(frozen=True)
class Grid:
    """The squares of a sweep in the order of its cells.

    Attributes:
        plan: what does not change while runs go on: rows, and which run a square is.
        codes: a letter for each square.
        shares: of each running square, how many of `SHARES` parts are behind it.
        order: which places of the glance's runs the squares are.
    """

    plan: dict[str, Any]
    codes: str = ""
    shares: dict[int, int] = field(default_factory=dict)
    order: Sequence[int] = field(default=(), compare=False)

    def changes(self, before: Grid) -> list[int]:
        """The squares that look otherwise than before, under the same plan."""
        pairs = enumerate(zip(self.codes, before.codes, strict=True))
        moved = [at for at, (new, old) in pairs if new != old]
        filled = [at for at, share in self.shares.items() if before.shares.get(at) != share]
        return sorted({*moved, *filled})

    def square(self, at: int) -> str:
        """A square as text: its letter, and for a running one its share."""
        return f"{self.codes[at]}{self.shares.get(at, '')}"


def grid(planned: WholePlan, before: Grid | None = None) -> Grid:
    """The grid of a glance; an earlier one's plan is kept if it is the same."""
    glance, order = planned.glance, planned.order
    codes = planned.letters
    shares, known = {}, {one.run_id: planned.share(one) for one in glance.running}
    for square, at in enumerate(order):
        if codes[square] == RUNNING:
            shares[square] = round(SHARES * known.get(glance.runs[at].id, 0.0))
    same = before is not None and before.order is planned.order
    kept = before.plan if before and same else plan(planned)
    return Grid({**kept, "awaited": planned.awaited}, codes, shares, planned.order)


def plan(planned: WholePlan) -> dict[str, Any]:
    """The rows of the grid, and the runs behind its squares, both as short as can be.

    A row is a cell. The candidates of a cell's tuning stand in one row; of many cells, all of a
    part do.
    """
    runs = planned.glance.runs
    rows = [
        (part, name, len(list(squares)))
        for (part, name), squares in groupby(
            planned.order, key=lambda at: _row(planned, planned.cells[runs[at].cell_id])
        )
    ]
    if len(rows) > MOST_LABELS:
        rows = [
            (part, "", sum(count for *_, count in found))
            for part, found in groupby(rows, key=lambda row: row[0])
        ]
    return {
        "rows": [[part, count, name] for part, name, count in rows],
        "ids": list(ranges([runs[at].id for at in planned.order])),
        "reasons": {letter: words(ending) for ending, letter in FAILED.items()},
    }


def _row(planned: WholePlan, cell: Cell) -> tuple[str, str]:
    return PARTS.get(cell.role, cell.role), label(planned, cell.id, tuned=False)


def ranges(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive numbers as [first, how many]."""
    start, count = 0, 0
    for number in numbers:
        if count and number == start + count:
            count += 1
            continue
        if count:
            yield [start, count]
        start, count = number, 1
    if count:
        yield [start, count]
