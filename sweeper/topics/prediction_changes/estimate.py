"""Which test examples change between the two ends of the axis (which ones, and of which class).

An example changes when most runs have it right at one end and wrong at the other. Some change by
the luck of the runs alone: about as many as would between two repeats of one and the same end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sweeper.analysis.bits import Answers, answers
from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.view import SweepView


@dataclass(frozen=True)
class ClassChange:
    """The examples of one class that change: places in the test split, in the data set's order.

    Attributes:
        gained: wrong in most runs at `low`, right in most at `high`; lost: the other way.
        chance: about how many would change between two repeats of one end.
    """

    name: str
    support: int
    gained: tuple[int, ...]
    lost: tuple[int, ...]
    chance: float


@dataclass(frozen=True)
class PredictionChanges:
    """What changes from level `low` to level `high` of the axis, at one level of the second factor.

    Attributes:
        n: replicates that have all cells of both ends; the runs are n times the cells of an end.
        classes: all of them, in the data set's order.
    """

    factor: Factor
    held: Factor | None
    at: Any
    low: Any
    high: Any
    n: int
    classes: tuple[ClassChange, ...]

    @property
    def gained(self) -> int:
        return sum(len(one.gained) for one in self.classes)

    @property
    def lost(self) -> int:
        return sum(len(one.lost) for one in self.classes)

    @property
    def chance(self) -> float:
        """How many would change if nothing but luck set the ends apart."""
        return sum(one.chance for one in self.classes)


def changed(low: NDArray[np.float64], *, high: NDArray[np.float64]) -> NDArray[np.int8]:
    """1 where an example (N,) is wrong in most runs at `low` and right in most at `high`, -1 where
    it is the other way, else 0; both (R, N), the share of a replicate's runs that have it right.

    Exactly half is neither.
    """
    before, after = low.mean(axis=0), high.mean(axis=0)
    gained = (before < 0.5) & (after > 0.5)
    lost = (before > 0.5) & (after < 0.5)
    return gained.astype(np.int8) - lost.astype(np.int8)


def by_luck(share: NDArray[np.float64], *, runs: int) -> NDArray[np.float64]:
    """The chance that an example (N,) changes between two repeats of one end, of `runs` runs each.

    `2 P(most right) P(most wrong)`, binomial with the share of runs that have it right. The share
    is itself an estimate, so sums are right to about a third (a factor of two if most examples
    are nearly sure).
    """
    most_right = stats.binom.sf(runs // 2, runs, share)
    most_wrong = stats.binom.cdf((runs - 1) // 2, runs, share)
    return 2 * most_right * most_wrong


def build(view: SweepView) -> tuple[PredictionChanges, ...]:
    """Between the ends of the axis, over all other factors, at each level of the second one."""
    known = answers(view.frames)
    if known is None or view.x is None or not view.grid:
        return ()
    found = (_changes(view, known, x=view.x, level=level) for level, _ in view.lines())
    return tuple(one for one in found if one is not None)


def _changes(view: SweepView, known: Answers, *, x: Factor, level: Any) -> PredictionChanges | None:
    ends = [_cells(view, x=x, end=end, level=level) for end in (x.levels[0], x.levels[-1])]
    both = [cell for cells in ends for cell in cells]
    seen = sorted(set.intersection(*[set(known.right.get(cell, ())) for cell in both]))
    if len(seen) < LEAST:
        return None
    low, high = (  # (R, N)
        np.mean([[known.right[cell][r] for r in seen] for cell in cells], axis=0) for cells in ends
    )
    signs = changed(low, high=high)
    luck = np.mean(
        [
            by_luck(end.mean(axis=0), runs=len(seen) * len(cells))
            for end, cells in zip((low, high), ends, strict=True)
        ],
        axis=0,
    )
    classes = tuple(_of_class(known, c, signs=signs, luck=luck) for c in range(len(known.classes)))
    held = view.by
    return PredictionChanges(
        x, held, level if held else None, x.levels[0], x.levels[-1], len(seen), classes
    )


def _cells(view: SweepView, *, x: Factor, end: Any, level: Any) -> list[int]:
    factors = view.frames.cells["factors"].to_dict()
    return [
        cell
        for cell in view.comparable.compared
        if factors[cell].get(x.path) == end
        and (view.by is None or factors[cell].get(view.by.path) == level)
    ]


def _of_class(
    known: Answers, c: int, *, signs: NDArray[np.int8], luck: NDArray[np.float64]
) -> ClassChange:
    own = slice(int(known.starts[c]), int(known.starts[c + 1]))
    places, sign = known.example[own], signs[own]
    return ClassChange(
        known.classes[c],
        len(places),
        tuple(map(int, places[sign > 0])),
        tuple(map(int, places[sign < 0])),
        float(luck[own].sum()),
    )


def rows(found: Sequence[PredictionChanges]) -> pd.DataFrame:
    """Every example that changes as a row: where, its place in the test split, its class."""
    listed = [row for one in found for row in _rows(one)]
    return as_written(pd.DataFrame(listed), rows=listed, columns=["at", "low", "high"])


def _rows(one: PredictionChanges) -> Iterator[dict[str, Any]]:
    for group in one.classes:
        for change, places in (("gained", group.gained), ("lost", group.lost)):
            for place in places:
                yield {
                    "factor": one.factor.path,
                    "held": one.held.path if one.held else None,
                    "at": one.at,
                    "low": one.low,
                    "high": one.high,
                    "replicates": one.n,
                    "class": group.name,
                    "test_example": place,
                    "change": change,
                }
