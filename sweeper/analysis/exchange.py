"""What the majority classes pay for the minority: cells in the plane of the two accuracies.

A price says how many majority errors one minority error weighs. For each price of a fixed grid the
cells that may be best are found beforehand, so that the page only looks them up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweeper.analysis import best
from sweeper.analysis.comparable import Reading
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, mean_interval
from sweeper.analysis.look import Look
from sweeper.analysis.measures import REPORTED, Measure, responses

PRICES = tuple(float(one) for one in np.logspace(-1, 1, 21))  # 1 in the middle
CORNERS = 48  # of a region's outline
MOST = 400  # cells; above it nothing is priced
REGION = 4  # replicates that a region needs: F(2, n - 2) of three is 200


@dataclass(frozen=True)
class Region:
    """The joint 95 % region of the two means; without an outline `note` says why."""

    outline: tuple[tuple[float, float], ...]  # (majority, minority)
    n: int
    method: str
    note: str = ""


@dataclass(frozen=True)
class Spot:
    """One cell: both accuracies in points, each alone and jointly."""

    cell: int
    majority: Estimate
    minority: Estimate
    replicates: tuple[tuple[int, float, float], ...]  # replicate, majority, minority
    region: Region
    pareto: bool  # no other cell's means are better in both


@dataclass(frozen=True)
class Price:
    """The cells that no other cell beats on (w minority + majority) / (w + 1)."""

    weight: float
    best: tuple[int, ...]
    n: int  # replicates of the comparison with the fewest
    family: int
    method: str


@dataclass(frozen=True)
class Exchange:
    """All cells with a complete run; `note` says why nothing is priced."""

    spots: tuple[Spot, ...]
    prices: tuple[Price, ...]
    note: str = ""


def build(look: Look) -> Exchange | None:
    """The exchange; None with fewer than two cells, or without the two accuracies."""
    if look.gate.reading is Reading.NOTHING:
        return None
    pair = [
        Measure(name, name.replace("_", " "), (REPORTED, name, ""), "points", "maximize")
        for name in ("majority_accuracy", "minority_accuracy")
    ]
    if any(one.key not in look.frames.numbers.columns for one in pair):
        return None
    cells = look.gate.compared or look.gate.cells
    y = np.stack([
        responses(look.frames, measure=one, cells=cells).to_numpy(dtype=float) for one in pair
    ])  # fmt: skip
    planned = responses(look.frames, measure=pair[0], cells=cells).columns
    seen = np.isfinite(y[0]) & np.isfinite(y[1])
    y = np.where(seen, y, np.nan)
    told = np.flatnonzero(seen.any(axis=1))
    if len(told) < 2:
        return None
    y, kept = y[:, told], [int(cells[at]) for at in told]
    front = pareto(np.nanmean(y, axis=2).T)
    spots = tuple(
        _spot(cell, y[:, at], replicates=[int(r) for r in planned], front=bool(front[at]))
        for at, cell in enumerate(kept)
    )
    found, note = prices(y, cells=kept)
    return Exchange(spots, found, note)


def _spot(cell: int, y: NDArray[np.float64], *, replicates: Sequence[int], front: bool) -> Spot:
    seen = np.isfinite(y[0])
    points = tuple(
        (r, float(y[0, at]), float(y[1, at])) for at, r in enumerate(replicates) if seen[at]
    )
    return Spot(cell, mean_interval(y[0]), mean_interval(y[1]), points, region(y[:, seen].T), front)


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
    if sizes[0] <= 1e-12 * max(float(sizes[1]), 1e-12):
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
    y: NDArray[np.float64], *, cells: Sequence[int], weights: Sequence[float] = PRICES
) -> tuple[tuple[Price, ...], str]:
    """The set of best cells (2.5) at each price, and why there is none; y (2, a, R)."""
    if len(cells) > MOST:
        return (), f"More than {MOST} cells: the sets of best cells are left out."
    if np.isfinite(y[0]).sum(axis=1).min() < LEAST:
        return (), f"Some cells have fewer than {LEAST} replicates: no set of best cells."
    return tuple(_price(y, cells=cells, weight=one) for one in weights), ""


def _price(y: NDArray[np.float64], *, cells: Sequence[int], weight: float) -> Price:
    majority, minority = y
    found = best.pairs((weight * minority + majority) / (weight + 1))
    others = ~np.eye(len(cells), dtype=bool)
    n, family = int(found.n[others].min()), len(cells) - 1
    stays = found.beats().sum(axis=1) == 0
    top = tuple(cell for cell, stay in zip(cells, stays, strict=True) if stay)
    method = (
        f"one-sided paired t at {LEVEL:.0%} over {n} replicates, each cell against {family} "
        "others (Bonferroni)"
    )
    return Price(weight, top, n, family, method)
