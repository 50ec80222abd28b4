"""What the majority classes pay for the minority: cells in the plane of the two accuracies.

A price says how many majority errors one minority error weighs. For each price of a fixed grid the
cells that may be best are found beforehand, so that the page only looks them up. Cells are compared
under the same conditions only: what the data are like is no choice.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import combination
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, mean_interval
from sweeper.analysis.measures import REPORTED, Measure, responses
from sweeper.analysis.stopping import PLAIN, Rule
from sweeper.analysis.view import SweepView

PRICES = tuple(float(one) for one in np.logspace(-1, 1, 21))  # 1 in the middle
CORNERS = 48  # of a region's outline
MOST = 400  # cells; above it nothing is priced
FLAT = 1e-8  # a variance this much smaller than the other is the rounding of recorded numbers
REGION = 4  # replicates that a region needs: F(2, n - 2) of three is 200


@dataclass(frozen=True)
class Region:
    """The joint 95 % region of the two means; without an outline `note` says why."""

    outline: tuple[tuple[float, float], ...]  # (majority, minority)
    n: int
    method: str
    note: str = ""

    @property
    def drawable(self) -> bool:
        """Whether it lies between 0 and 100 % on both axes: cut off there, it would be a wedge."""
        return bool(self.outline) and all(0 <= x <= 100 for corner in self.outline for x in corner)


@dataclass(frozen=True)
class Spot:
    """One cell: both accuracies in points, each alone and jointly."""

    cell: int
    majority: Estimate
    minority: Estimate
    replicates: tuple[tuple[int, float, float], ...]  # replicate, majority, minority
    region: Region
    apart: tuple[Any, ...]  # its conditions; cells under others are not compared with it
    pareto: bool  # no other cell's means are as good in both and better in one


@dataclass(frozen=True)
class ErrorCost:
    """The cells that are not worse than another on (w minority + majority) / (w + 1).

    Attributes:
        n: replicates of the comparison with the fewest.
        family: pairs of cells that are compared at once, at the most.
    """

    weight: float
    best: tuple[int, ...]
    n: int
    family: int
    method: str


@dataclass(frozen=True)
class TradeOff:
    """All cells with a complete run; `note` says why nothing is priced.

    `apart` names the conditions, at whose levels cells are compared.
    """

    apart: tuple[str, ...]
    spots: tuple[Spot, ...]
    prices: tuple[ErrorCost, ...]
    note: str = ""


def build(view: SweepView) -> TradeOff | None:
    """The exchange; None with fewer than two cells, or without the two accuracies."""
    if view.comparable.comparison is Comparison.NOTHING:
        return None
    pair = [
        Measure(name, name.replace("_", " "), (REPORTED, name, ""), "points", "maximize")
        for name in ("majority_accuracy", "minority_accuracy")
    ]
    if any(one.key not in view.frames.numbers.columns for one in pair):
        return None
    cells = view.comparable.compared or view.comparable.cells
    y = np.stack(
        [responses(view.frames, measure=one, cells=cells).to_numpy(dtype=float) for one in pair]
    )
    planned = responses(view.frames, measure=pair[0], cells=cells).columns
    seen = np.isfinite(y[0]) & np.isfinite(y[1])
    y = np.where(seen, y, np.nan)
    told = np.flatnonzero(seen.any(axis=1))
    if len(told) < 2:
        return None
    y, kept = y[:, told], [int(cells[at]) for at in told]
    data = [one for one in view.factors if one.is_condition]
    factors = view.frames.cells["factors"]
    apart = [combination(factors[cell], paths=[one.path for one in data]) for cell in kept]
    means, front = np.nanmean(y, axis=2).T, np.zeros(len(kept), dtype=bool)
    for members in _groups(apart):
        front[members] = pareto(means[members])
    spots = tuple(
        _spot(
            cell,
            y[:, at],
            replicates=[int(r) for r in planned],
            apart=apart[at],
            front=bool(front[at]),
        )
        for at, cell in enumerate(kept)
    )
    found, note = prices(y, cells=kept, apart=apart, rule=view.rule)
    return TradeOff(tuple(one.name for one in data), spots, found, note)


def _groups(apart: Sequence[Hashable]) -> list[list[int]]:
    """The places of what is compared with each other."""
    return [[at for at, one in enumerate(apart) if one == key] for key in dict.fromkeys(apart)]


def _spot(
    cell: int,
    y: NDArray[np.float64],
    *,
    replicates: Sequence[int],
    apart: tuple[Any, ...],
    front: bool,
) -> Spot:
    seen = np.isfinite(y[0])
    points = tuple(
        (r, float(y[0, at]), float(y[1, at])) for at, r in enumerate(replicates) if seen[at]
    )
    majority, minority = mean_interval(y[0]), mean_interval(y[1])
    return Spot(cell, majority, minority, points, region(y[:, seen].T), apart, front)


def region(y: ArrayLike) -> Region:
    """The region of the mean of y (R, 2) by Hotelling's T squared.

    n (m - mu)' S^-1 (m - mu) <= 2 (n - 1) / (n - 2) F(.95; 2, n - 2).
    """
    y = np.asarray(y, dtype=float)
    n = len(y)
    method = f"{LEVEL:.0%} joint region (Hotelling) over {n} replicates"
    if n < REGION:
        return Region((), n, method, f"n = {n}")
    covariance = np.cov(y.T)
    sizes, turns = np.linalg.eigh(covariance)
    if sizes[0] <= FLAT * max(float(sizes[1]), FLAT):
        return Region((), n, method, "the two accuracies move as one over the replicates")
    reach = 2 * (n - 1) / (n - 2) * float(stats.f.ppf(LEVEL, 2, n - 2)) / n
    angle = np.linspace(0, 2 * math.pi, CORNERS + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    outline = y.mean(axis=0)[:, None] + turns @ (np.sqrt(sizes * reach)[:, None] * circle)
    return Region(tuple((float(a), float(b)) for a, b in outline.T), n, method)


def pareto(means: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of means (a, 2) no other row equals or passes in both, one of them truly."""
    m = np.asarray(means, dtype=float)
    ahead = m[None] - m[:, None]
    passed = (ahead.min(axis=2) >= 0) & (ahead.max(axis=2) > 0)
    return passed.sum(axis=1) == 0


def prices(
    y: NDArray[np.float64],
    *,
    cells: Sequence[int],
    apart: Sequence[Hashable] | None = None,
    weights: Sequence[float] = PRICES,
    rule: Rule = PLAIN,
) -> tuple[tuple[ErrorCost, ...], str]:
    """The cells that no other beats (5) at each price, and why there are none; y (2, a, R).

    `apart` gives each cell's conditions: only cells under the same are compared.
    """
    if len(cells) > MOST:
        return (), f"More than {MOST} cells: the sets of best cells are left out."
    if np.isfinite(y[0]).sum(axis=1).min() < LEAST:
        return (), f"Some cells have fewer than {LEAST} replicates: no set of best cells."
    groups = _groups(apart if apart is not None else [0] * len(cells))
    return tuple(
        _price(y, cells=cells, groups=groups, weight=one, rule=rule) for one in weights
    ), ""


def _price(
    y: NDArray[np.float64],
    *,
    cells: Sequence[int],
    groups: Sequence[Sequence[int]],
    weight: float,
    rule: Rule,
) -> ErrorCost:
    majority, minority = y
    score, stays, ns = (weight * minority + majority) / (weight + 1), [], []
    for members in groups:
        found = rule.pairs(pd.DataFrame(score[list(members)]), direction="maximize")
        stays += [members[int(at)] for at in np.flatnonzero(~found.beaten)]
        ns.append(found.n)
    n, largest = min(ns), max(map(len, groups))
    family = largest * (largest - 1) // 2
    method = f"paired t at 95% over {n} replicates, all {family} pairs at once (Bonferroni)"
    return ErrorCost(weight, tuple(cells[at] for at in sorted(stays)), n, family, method)


def rows(found: TradeOff | None) -> list[dict[str, Any]]:
    """Each cell's two accuracies, and the prices at which it may be best."""
    spots, prices = (found.spots, found.prices) if found else ((), ())
    return [
        {
            "cell": spot.cell,
            "n": spot.minority.n,
            "method": spot.minority.method,
            **_accuracy("minority", spot.minority),
            **_accuracy("majority", spot.majority),
            "pareto": spot.pareto,
            "best_at": [one.weight for one in prices if spot.cell in one.best],
        }
        for spot in spots
    ]


def _accuracy(name: str, one: Estimate) -> dict[str, float]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
