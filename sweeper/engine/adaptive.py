"""Asks a sampler for cells one by one, with as many in work as there are workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from optuna.trial import TrialState

from sweeper import search, tunes
from sweeper.design import design
from sweeper.engine.cells import CellMaker
from sweeper.spec import Spec
from sweeper.store.records import Cell, NewCell
from sweeper.store.study import Study

REPEATS_AT_MOST = 50  # in a row; then the search space counts as exhausted


class Adaptive:
    """Asks the study for cells until it has `search.trials` distinct ones.

    Args:
        tell: brings the study up to date; called before each round of questions.
        unusable: receives a cell whose configuration cannot run, and the reason.
    """

    def __init__(
        self,
        spec: Spec,
        maker: CellMaker,
        study: Study,
        *,
        tell: Callable[[], None],
        unusable: Callable[[NewCell, str], None],
    ) -> None:
        self._spec, self._maker, self._study = spec, maker, study
        self._tell, self._unusable = tell, unusable
        self._known: set[str] = set()
        self._distributions = search.distributions(spec)
        self._exhausted = False

    def first(self) -> list[NewCell]:
        return []

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return []

    def knows(self, hashes: Iterable[str]) -> None:
        """Registers cells that earlier launches asked for."""
        self._known.update(hashes)

    def unasked(self) -> bool:
        return self._left() > 0

    def _left(self) -> int:
        return 0 if self._exhausted else (self._spec.search.trials or 0) - len(self._known)

    def more(self, wanted: int) -> list[NewCell]:
        left = self._left()
        if min(left, wanted) <= 0:
            return []
        self._tell()
        found = []
        while len(found) < min(left, wanted):
            cell = self._ask()
            if cell is None:
                self._exhausted = True
                break
            found.append(cell)
        return found

    def _ask(self) -> NewCell | None:
        """A new cell; None if the sampler has no more, or only repeats itself."""
        for _ in range(REPEATS_AT_MOST):
            try:
                number, levels = self._study.ask(self._distributions)
            except tunes.SearchEnded:
                return None
            cell, reason = self._maker.make_anyway(design(self._spec, levels), number=number)
            if cell.hash in self._known:
                # The cell's own trial has the value; a second trial would count it twice.
                self._study.study.tell(number, state=TrialState.FAIL)
                continue
            self._known.add(cell.hash)
            if reason:
                self._unusable(cell, reason)
            return cell
        return None
