"""Asks a sampler for cells one by one, with as many in work as there are workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from optuna.trial import TrialState

from sweeper import search, tunes
from sweeper.design import design, untried, whole
from sweeper.engine.cells import CellMaker
from sweeper.spec import Spec
from sweeper.store.records import Cell, NewCell
from sweeper.store.study import Study

REPEATS_AT_MOST = 10  # in a row; then an untried cell is drawn at random
DRAWS_AT_MOST = 50


class Adaptive:
    """Asks the study for cells until it has `search.trials` distinct ones.

    Args:
        tell: brings the study up to date; called before each round of questions.
        unusable: receives a cell whose configuration cannot run, and the reason.
        say: receives a message if the search ends before its last trial.
    """

    def __init__(
        self,
        spec: Spec,
        maker: CellMaker,
        study: Study,
        *,
        tell: Callable[[], None],
        unusable: Callable[[NewCell, str], None],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._spec, self._maker, self._study = spec, maker, study
        self._tell, self._unusable, self._say = tell, unusable, say
        self._known: dict[str, dict[str, Any]] = {}  # the factors of each cell, by hash
        self._distributions = search.distributions(spec)
        self._first = list(spec.first)
        self._exhausted = False

    def first(self) -> list[NewCell]:
        return []

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return []

    def knows(self, cells: Iterable[NewCell]) -> None:
        """Registers cells that earlier launches asked for."""
        self._known.update({cell.hash: cell.factors for cell in cells})

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
                self._say(
                    f"{self._spec.search.method} found {len(self._known)} of "
                    f"{self._spec.search.trials} cells: the search space has no more"
                )
                break
            found.append(cell)
        return found

    def _ask(self) -> NewCell | None:
        """A new cell; None if the sampler has no more, or every cell has been tried."""
        if len(self._known) >= (whole(self._spec) or math.inf):
            return None
        if (cell := self._first_point()) is not None:
            return cell
        for _ in range(REPEATS_AT_MOST):
            try:
                cell = self._made(None)
            except tunes.SearchEnded:
                return None
            if cell is not None:
                return cell
        return self._drawn()

    def _first_point(self) -> NewCell | None:
        """The next of the spec's first points that has no cell yet."""
        while self._first:
            point = self._first.pop(0)
            if any(point.items() <= factors.items() for factors in self._known.values()):
                continue
            if (cell := self._made(point)) is not None:
                return cell
        return None

    def _drawn(self) -> NewCell | None:
        """An untried cell at random: a sampler repeats itself long before it has tried them all."""
        if self._spec.search.method == search.TUNE:
            return None  # its searcher would learn a result at a point that it did not choose
        points = untried(self._spec, list(self._known.values()), seed=len(self._known))
        return next(filter(None, map(self._made, islice(points, DRAWS_AT_MOST))), None)

    def _made(self, point: Mapping[str, Any] | None) -> NewCell | None:
        """The cell at a point, or at one that the sampler chooses; None if it exists."""
        number, levels = self._study.ask(self._distributions, fixed=point)
        cell, reason = self._maker.make_anyway(design(self._spec, levels), number=number)
        if cell.hash in self._known:
            # The cell's own trial has the value; a second trial would count it twice.
            self._study.study.tell(number, state=TrialState.FAIL)
            return None
        self._known[cell.hash] = cell.factors
        if reason:
            self._unusable(cell, reason)
        return cell
