"""Screening: few replicates of every cell, then fresh ones of those that may be the best.

What is screened and what is reported are cells of different roles, so that no number of the one
can get among those of the other. Which cells are left is kept with the sweep before any of their
fresh runs is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweeper.design import count
from sweeper.engine.cells import REPORT, SCREENING, Cells
from sweeper.engine.precision import Asking, Staged
from sweeper.spec import Screen, Spec
from sweeper.store.records import Cell, NewCell

if TYPE_CHECKING:
    from sweeper.analysis.frames import Frames
    from sweeper.analysis.precision import Decision


class Screened(Staged):
    """Cells of another source, each of them screened, those that are left reported."""

    def __init__(self, asking: Asking, inner: Cells) -> None:
        super().__init__(asking, inner)
        if not self.ended:
            self._go_on()

    def _go_on(self) -> None:
        """More fresh replicates of the same cells: who is left was decided, and stays so."""
        from sweeper.analysis import screening

        plan, confirm = self._plan, {"confirm": self._plan["confirm"]}
        before = [one for one in self._kept if one["ended"] == "screened"]
        if before and {**before[-1]["plan"], **confirm} == plan:
            self._keep(screening.decision(plan, before[-1]["facts"]))

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return self.extended(self._inner.after(cell, values))

    def extended(self, cells: Sequence[NewCell]) -> list[NewCell]:
        """Every cell as one to screen, and once that is decided also those that are left."""
        screened = [replace(one, role=SCREENING) if one.role == REPORT else one for one in cells]
        return screened + self._left([one for one in cells if one.role == REPORT])

    def may_follow(self) -> int:
        if self.ended:
            return 0
        spec = self._asking.spec
        cells = [cell for cell in self._asking.board.cells.values() if cell.role == SCREENING]
        references = sum(refers(spec, cell) for cell in cells)
        return most_left(spec, references=references) * confirm(spec)

    def _extend(self) -> None:
        """Nothing grows: a cell's replicates are its role's."""

    def _judged(self, frames: Frames) -> Decision:
        from sweeper.analysis import screening

        return screening.decide(frames)

    def _further(self) -> list[NewCell]:
        return self._left(self._there(SCREENING))

    def _left(self, cells: Sequence[NewCell]) -> list[NewCell]:
        """Those that screening has left, on replicates that it has not seen.

        A cell is known by its levels, which a later launch has as well.
        """
        spec = self._asking.spec
        facts = [one for stage in self._mine() for one in stage["facts"]]
        kept = {_key(spec, one["levels"]) for one in facts if one["stays"]}
        fresh = tuple(range(spec.replicates, spec.most_replicates))
        return [
            replace(one, role=REPORT, replicates=fresh)
            for one in cells
            if _key(spec, one.factors) in kept
        ]


def _key(spec: Spec, levels: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(levels.get(path) for path in spec.scientific)


def confirm(spec: Spec) -> int:
    """Fresh replicates of each cell that is left."""
    return spec.most_replicates - spec.replicates


def refers(spec: Spec, cell: NewCell) -> bool:
    """Whether the cell is at all reference levels that the spec names."""
    return bool(spec.reference) and spec.reference.items() <= cell.factors.items()


def most_left(spec: Spec, *, references: int) -> int:
    """At most so many cells are left by screening."""
    assert isinstance(spec.precision, Screen)  # noqa: S101  the caller looked
    cells, keep = count(spec), spec.precision.keep
    return cells if keep is None else min(cells, keep + references)
