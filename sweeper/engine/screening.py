"""Screening: a few replicates of every cell, then fresh ones of those that may be the best.

Screened and reported cells have different roles, so that their numbers never mix. The choice of
the remaining cells is stored with the sweep before any of their fresh runs is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweeper.design import count
from sweeper.engine.cells import REPORT, SCREENING, Cells
from sweeper.engine.precision import PlanContext, Staged
from sweeper.spec import Screen, Spec
from sweeper.store.records import Cell, NewCell

if TYPE_CHECKING:
    from sweeper.analysis.frames import Frames
    from sweeper.analysis.stopping import Decision


class ScreenedCells(Staged):
    """Cells of another source, all of them screened, the remaining ones reported."""

    def __init__(self, context: PlanContext, inner: Cells) -> None:
        super().__init__(context, inner)
        if not self.ended:
            self._go_on()

    def _go_on(self) -> None:
        """Adds fresh replicates of the same cells: the choice was made and stays."""
        from sweeper.analysis import screening

        plan, confirm = self._plan, {"confirm": self._plan["confirm"]}
        before = [stage for stage in self._kept if stage["ended"] == "screened"]
        if before and {**before[-1]["plan"], **confirm} == plan:
            self._keep(screening.decision(plan, before[-1]["facts"]))

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return self.extended(self._inner.after(cell, values))

    def extended(self, cells: Sequence[NewCell]) -> list[NewCell]:
        """Every cell for screening and, once decided, the remaining cells too."""
        screened = [
            replace(cell, role=SCREENING) if cell.role == REPORT else cell for cell in cells
        ]
        return screened + self._left([cell for cell in cells if cell.role == REPORT])

    def may_follow(self) -> int:
        if self.ended:
            return 0
        spec = self._context.spec
        cells = [cell for cell in self._context.tracker.cells.values() if cell.role == SCREENING]
        references = sum(refers(spec, cell) for cell in cells)
        return most_left(spec, references=references) * confirm(spec)

    def _extend(self) -> None:
        """Does nothing: the role decides a cell's replicates."""

    def _judged(self, frames: Frames) -> Decision:
        from sweeper.analysis import screening

        return screening.decide(frames)

    def _further(self) -> list[NewCell]:
        return self._left(self._there(SCREENING))

    def _left(self, cells: Sequence[NewCell]) -> list[NewCell]:
        """The cells that remain after screening, on replicates that screening has not used.

        Levels identify a cell, because a later launch has the same levels.
        """
        spec = self._context.spec
        facts = [fact for stage in self._mine() for fact in stage["facts"]]
        kept = {_key(spec, fact["levels"]) for fact in facts if fact["stays"]}
        fresh = tuple(range(spec.replicates, spec.most_replicates))
        return [
            replace(cell, role=REPORT, replicates=fresh)
            for cell in cells
            if _key(spec, cell.factors) in kept
        ]


def _key(spec: Spec, levels: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(levels.get(path) for path in spec.scientific)


def confirm(spec: Spec) -> int:
    """The number of fresh replicates of each remaining cell."""
    return spec.most_replicates - spec.replicates


def refers(spec: Spec, cell: NewCell) -> bool:
    """Returns whether the cell is at all reference levels that the spec names."""
    return bool(spec.reference) and spec.reference.items() <= cell.factors.items()


def most_left(spec: Spec, *, references: int) -> int:
    """The most cells that can remain after screening."""
    assert isinstance(spec.precision, Screen)  # noqa: S101  the caller looked
    cells, keep = count(spec), spec.precision.keep
    return cells if keep is None else min(cells, keep + references)
