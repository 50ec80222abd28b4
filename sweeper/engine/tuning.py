"""Nuisance tuning: candidates of each scientific cell, on replicates that are not reported.

A cell's pick runs as soon as its own candidates have ended; cells do not wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from sweeper.design import Design, candidates, designs
from sweeper.engine.cells import REPORT, TUNING, CellMaker
from sweeper.spec import Spec
from sweeper.store.records import Cell, NewCell


@dataclass
class _TunedCell:
    """A scientific cell with its candidates, by hash and in order."""

    designs: dict[str, Design] = field(default_factory=dict)
    ended: dict[str, list[float]] = field(default_factory=dict)

    @property
    def decided(self) -> bool:
        """Whether every candidate has ended."""
        return len(self.ended) == len(self.designs)


class TunedCells:
    """Candidates first, then the pick of each scientific cell on the reported replicates.

    Attributes:
        unpicked: scientific cells without a pick, because no candidate has a value.
    """

    def __init__(
        self, spec: Spec, maker: CellMaker, *, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.unpicked: list[dict[str, Any]] = []
        self._spec, self._maker, self._say = spec, maker, say
        self._maximize = spec.objective.direction == "maximize"
        self._groups: list[_TunedCell] = []
        self._of_hash: dict[str, list[_TunedCell]] = {}

    def first(self) -> list[NewCell]:
        cells = []
        for design in designs(self._spec):
            group = _TunedCell()
            for candidate in candidates(self._spec, design):
                cell = self._maker.make(candidate, role=TUNING)
                group.designs[cell.hash] = candidate
                self._of_hash.setdefault(cell.hash, []).append(group)
                cells.append(cell)
            self._groups.append(group)
        return cells

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        if cell.role != TUNING:
            return []
        found = []
        for group in self._of_hash.get(cell.hash, ()):
            group.ended[cell.hash] = list(values.get(cell.hash, ()))
            if group.decided:
                found += self._picked(group)
        return found

    def more(self, wanted: int) -> list[NewCell]:
        return []

    def unasked(self) -> bool:
        return False

    def _picked(self, group: _TunedCell) -> list[NewCell]:
        hashes = list(group.designs)
        chosen = pick(
            [group.ended[key] for key in hashes],
            places=places([group.designs[key].factors for key in hashes], self._spec.nuisance),
            maximize=self._maximize,
        )
        if chosen is None:
            self._without_pick(group)
            return []
        return [self._maker.make(group.designs[hashes[chosen]], role=REPORT)]

    def _without_pick(self, group: _TunedCell) -> None:
        factors = next(iter(group.designs.values())).factors
        levels = {name: factors[name] for name in self._spec.scientific if name in factors}
        self.unpicked.append(levels)
        where = ", ".join(f"{name}={level}" for name, level in levels.items()) or "the only cell"
        self._say(f"{where}: no candidate has a value, so this cell is not reported")


def pick(
    values: Sequence[Sequence[float]], *, places: Sequence[float], maximize: bool
) -> int | None:
    """The index of the best candidate by mean; of those within one standard error the middle one.

    Args:
        values: each candidate's objective, one number a complete replicate; empty when it failed.
        places: each candidate's distance from the middle of the candidates.
        maximize: whether more is better.

    Returns:
        None when every candidate failed.
    """
    sign = 1.0 if maximize else -1.0
    means = [sign * fmean(v) if v else -math.inf for v in values]
    best = max(range(len(means)), key=means.__getitem__, default=None)
    if best is None or means[best] == -math.inf:
        return None
    of_best = values[best]
    error = stdev(of_best) / math.sqrt(len(of_best)) if len(of_best) > 1 else 0.0
    close = [index for index, mean in enumerate(means) if mean >= means[best] - error]
    return min(close, key=lambda index: (places[index], -means[index], index))


def places(factors: Sequence[Mapping[str, Any]], names: Mapping[str, Any]) -> list[float]:
    """Each candidate's distance from the middle, by the rank of its levels; 0 is the middle."""
    total = [0.0] * len(factors)
    for name in names:
        levels = [one.get(name) for one in factors]
        order = sorted(set(levels), key=lambda v: (isinstance(v, str), v))
        middle = (len(order) - 1) / 2
        for index, level in enumerate(levels):
            total[index] += ((order.index(level) - middle) / max(middle, 0.5)) ** 2
    return total
