"""Each class by itself: its recall at each level of the axis, and where small batches start to win.

Classes stand by training frequency, the most frequent first. Where the train ratio varies, the
strongest imbalance is looked at. Letters: c a class, i a cell or level, r a replicate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeper.analysis import student
from sweeper.analysis.factors import RATIO, Factor, drawn_order
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, fieller, mean_interval
from sweeper.analysis.measures import POINTS, REPORTED
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.states import RunState

DRAWN = "Each replicate draws which classes are large, so no class has a size of its own."
FEWEST = 3  # classes of different size that a line can be drawn through


@dataclass(frozen=True)
class OneClass:
    """A class: its training samples, its recall at each level of the factor, and the changes.

    A change is the paired difference from the reference level, simultaneous over the levels of the
    class; None at the reference.
    """

    name: str
    samples: float
    recall: tuple[Estimate, ...]
    changes: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Crossing:
    """The class size at which the levels `low` and `high` of the axis do equally well.

    Attributes:
        samples: the size with its interval (Fieller), and in `p` that of no relation.
        rarer: whether the low level gains on rarer classes.
        beyond: how many classes are rarer than the crossing.
    """

    low: Any
    high: Any
    samples: Estimate
    rarer: bool
    beyond: int


@dataclass(frozen=True)
class PerClass:
    """Recall in points on the test split, class by class.

    Attributes:
        held, at: the level of the second factor that is looked at; None: the mean over all.
        classes: the most frequent first.
    """

    factor: Factor
    held: Factor | None
    at: Any
    classes: tuple[OneClass, ...]
    crossing: Crossing | Withheld


def build(view: SweepView) -> PerClass | None:
    """Class by level; None without an axis, without pairs, or where no recall was recorded."""
    names = [str(one) for one in view.frames.sweep.facts.get("classes", ())]
    keys = [(REPORTED, "recall", f"class:{name}") for name in names]
    if view.x is None or not view.grid:
        return None
    if not names or any(key not in view.frames.numbers.columns for key in keys):
        return None
    held = view.by if view.by is not None and view.by.path == RATIO else None
    at = held.levels[0] if held else None
    cells = [
        cell
        for cell in view.comparable.compared
        if held is None or view.frames.cells["factors"][cell].get(held.path) == at
    ]
    counts = np.array([view.frames.cells["class_counts"][cell] for cell in cells], dtype=float)
    drawn = any(drawn_order(view.frames.cells["config"][cell]) for cell in cells)
    if drawn:  # each class takes every size in turn
        counts[:] = counts.mean(axis=1, keepdims=True)
    y = _recalls(view.frames, keys=keys, cells=cells)
    by_level = np.stack([_at_level(view, y, cells=cells, level=level) for level in view.x.levels])
    samples = counts.mean(axis=0)
    order = np.argsort(-samples, kind="stable")
    classes = tuple(
        _one(names[c], samples=float(samples[c]), y=by_level[:, c], factor=view.x) for c in order
    )
    fixed = bool((counts == counts[0]).all())
    crossed = Withheld(DRAWN) if drawn else _crossing(view.x, by_level, samples, fixed=fixed)
    return PerClass(view.x, held, at, classes, crossed)


def _recalls(
    frames: Frames, *, keys: Sequence[tuple[str, str, str]], cells: Sequence[int]
) -> NDArray[np.float64]:
    """Recall in points (cells, classes, replicates), NaN where no run is complete."""
    runs = frames.reported_runs
    runs = runs[runs["cell"].isin(cells)]
    replicates = sorted(set(runs["replicate"].astype(int)))
    complete = runs[runs["state"] == RunState.COMPLETE]
    numbers = frames.numbers.reindex(complete.index)[list(keys)].to_numpy(dtype=float)
    row = {cell: at for at, cell in enumerate(cells)}
    column = {r: at for at, r in enumerate(replicates)}
    y = np.full((len(cells), len(keys), len(replicates)), np.nan)
    rows = [row[cell] for cell in complete["cell"]]
    columns = [column[r] for r in complete["replicate"]]
    y[rows, :, columns] = POINTS * np.where(np.isfinite(numbers), numbers, np.nan)
    return y


def _at_level(
    view: SweepView, y: NDArray[np.float64], *, cells: Sequence[int], level: Any
) -> NDArray[np.float64]:
    """(classes, replicates): the mean over all cells of a level, complete blocks only."""
    if view.x is None:
        raise ValueError("no axis, no levels")
    factors = view.frames.cells["factors"]
    return y[[factors[cell].get(view.x.path) == level for cell in cells]].mean(axis=0)


def _one(
    name: str,
    *,
    samples: float,
    y: NDArray[np.float64],
    factor: Factor,
) -> OneClass:
    """One class from its y[level, r]."""
    base, family = factor.levels.index(factor.reference), len(factor.levels) - 1
    changes = tuple(
        None if at == base else mean_interval(row - y[base], family=family)
        for at, row in enumerate(y)
    )
    return OneClass(name, samples, tuple(mean_interval(row) for row in y), changes)


def _crossing(
    x: Factor, y: NDArray[np.float64], samples: NDArray[np.float64], *, fixed: bool
) -> Crossing | Withheld:
    """The crossing of the lowest and the highest level; y (levels, classes, replicates)."""
    if x.scale == "category":
        return Withheld(f"The levels of {x.name} have no order.")
    if not fixed:
        return Withheld(f"The class sizes change with {x.name}.")
    d = y[0] - y[-1]
    told = np.isfinite(d).any(axis=1) & (samples > 0)
    if len(set(samples[told])) < FEWEST:
        return Withheld("The classes are too alike in size.")
    d, sizes = d[told], samples[told]
    found = crossing(np.log2(sizes), d=d)
    if isinstance(found, Withheld):
        return found
    estimate, rarer = found
    beyond = int((samples < estimate.value).sum())
    if not 0 < beyond < len(samples):
        ahead = x.levels[0] if np.nanmean(d) > 0 else x.levels[-1]
        return Withheld(f"No crossing: the fitted line favours {x.name} {ahead} for every class.")
    return Crossing(x.levels[0], x.levels[-1], estimate, rarer, beyond)


def crossing(z: ArrayLike, *, d: ArrayLike) -> tuple[Estimate, bool] | Withheld:
    """Where a difference d[c, r], a line in z[c] = log2 of the class size, is 0; as a size.

    A line is fitted in each replicate that has all classes. With A[r] its height at the middle of
    z and B[r] its slope, the crossing is at -mean A / mean B, and its interval is Fieller's: all
    places at which the t test over replicates does not reject that the mean line is 0. It is
    finite only where B differs from 0.

    Returns:
        The crossing, and whether the difference grows towards the small classes.
    """
    z, d = np.asarray(z, dtype=float), np.asarray(d, dtype=float)
    d = d[:, np.isfinite(d).all(axis=0)]
    n = d.shape[1]
    if n < LEAST:
        return Withheld(f"n = {n}: too few replicates have every class.")
    middle = z.mean()
    centred = z - middle
    height, slope = d.mean(axis=0), centred @ d / (centred @ centred)
    a, b = float(height.mean()), float(slope.mean())
    v = np.cov(height, slope) / n
    if not v[1, 1] > 0:
        return Withheld("All replicates have the same slope, which gives no interval.")
    ends = fieller(a, b, v=v, quantile=float(student.quantile(0.5 + LEVEL / 2, n - 1)))
    if ends is None:
        return Withheld("How the difference changes with the class size is not clear.")
    p = float(2 * student.tail(abs(b) / math.sqrt(v[1, 1]), n - 1))
    value, low, high = (_size(middle + one) for one in (-a / b, *ends))
    method = f"{LEVEL:.0%} interval by Fieller over the lines of {n} replicates"
    return Estimate(value, low, high, math.nan, n, p, 1, method), b < 0


def _size(log: float) -> float:
    """From its log2; a line that is almost level meets 0 beyond all numbers."""
    return 2.0 ** min(max(log, -1000.0), 1000.0)


def rows(found: PerClass | None) -> list[dict[str, Any]]:
    """Recall and change of each class at each level as a row."""
    if found is None:
        return []
    key = {
        "factor": found.factor.path,
        "held": found.held.path if found.held else None,
        "at": found.at,
    }
    return [
        {
            **key,
            "class": one.name,
            "samples": one.samples,
            "level": level,
            "n": recall.n,
            "recall": recall.value,
            "low": recall.low,
            "high": recall.high,
            "method": recall.method,
            **_change(change),
        }
        for one in found.classes
        for level, recall, change in zip(found.factor.levels, one.recall, one.changes, strict=True)
    ]


def _change(one: Estimate | None) -> dict[str, Any]:
    nan = math.nan
    names = ("change", "change_low", "change_high", "change_family")
    values = (one.value, one.low, one.high, one.family) if one else (nan, nan, nan, nan)
    return dict(zip(names, values, strict=True))
