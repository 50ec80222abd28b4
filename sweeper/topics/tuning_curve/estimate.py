"""Tuning curves: what the best of n trials of random search reaches at each level of a factor.

For a random search whose settings ran once. At a level, the runs are a sample of what a trial gives
there, its other factors drawn at random. The best of n trials exceeds a value as often as
1 - F(value)^n says, so a simultaneous band for F gives one for the median of the best at every n at
once (Lourie et al., 2024). A run that failed counts with its last value: it is a trial that was
paid for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis import bands
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import Factor, is_number
from sweeper.analysis.intervals import LEVEL
from sweeper.analysis.measures import POINTS, Measure, values
from sweeper.analysis.view import SweepView
from sweeper.states import RunState

Array: TypeAlias = NDArray[np.float64]

MOST_LEVELS = 12
LEAST_RUNS = 8  # of a level
RATES = frozenset({"lr", "learning_rate", "lr_peak", "max_lr", "base_lr", "eta"})
NEAR = 5.0  # points: how far a good run may lie behind its level's best
NEAR_PART = (
    0.1  # of the distance from the median of all runs to the best, where there are no points
)
METHOD = "median of the best of n trials; exact simultaneous band"


@dataclass(frozen=True)
class Rates:
    """The learning rates of a level's good runs.

    Attributes:
        low, high: the smallest and the largest.
        part: how much of the logarithm of the range that was searched lies between them.
    """

    runs: int
    low: float
    high: float
    part: float


@dataclass(frozen=True)
class Curve:
    """One level; `value`, `low` and `high` have an entry for each number of trials.

    Attributes:
        runs, lost: runs of the level, and those of them that failed or were pruned.
        median: of all runs, which is what somebody sees who does not tune.
        low, high: of the band; infinite where the runs do not bound it.
    """

    level: Any
    runs: int
    lost: int
    median: float
    best: float
    value: Array
    low: Array
    high: Array
    rates: Rates | None


@dataclass(frozen=True)
class Tuning:
    """The curves of all levels, whose bands hold at once.

    Attributes:
        trials: (n,) from 1 on.
        apart: pairs of levels (better, worse) whose bands are apart, and from how many trials on.
        rate: the learning rate, where the settings have one.
        near: how far behind its level's best a good run may lie, in the unit of the measure.
    """

    factor: Factor
    measure: Measure
    trials: NDArray[np.int64]
    curves: tuple[Curve, ...]
    apart: tuple[tuple[Any, Any, int], ...]
    rate: Factor | None
    near: float

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.curves)

    @property
    def runs(self) -> int:
        return sum(one.runs for one in self.curves)


def build(view: SweepView) -> Tuning | None:
    """The curves; None for a sweep that is no random search, or whose settings ran repeatedly."""
    if view.comparable.comparison is not Comparison.SCATTER:
        return None
    if view.frames.sweep.spec["search"]["method"] != "random" or view.replicates > 1:
        return None
    runs = outcomes(view)
    factor = next((one for one in view.factors if _leveled(one, runs)), None)
    if factor is None or not len(runs):
        return None
    rate = next((one for one in view.factors if _is_rate(one) and one is not factor), None)
    measure = view.objective
    near = _near(runs["y"].to_numpy(), measure)
    groups = [(level, runs[[one == level for one in runs[factor.path]]]) for level in factor.levels]
    smallest = min(len(mine) for _, mine in groups)
    trials = np.arange(1, max(smallest // 2, 1) + 1)
    each = 1 - (1 - LEVEL) / len(groups)
    curves = tuple(
        _curve(
            one, mine, measure, trials=trials, each=each, rates=_rates(mine, rate, near, measure)
        )
        for one, mine in groups
    )
    return Tuning(factor, measure, trials, curves, _apart(curves, trials, measure), rate, near)


def outcomes(view: SweepView) -> pd.DataFrame:
    """Each run that has ended: `y` in the unit of the objective, `lost`, and its levels by path.

    A run that failed or was pruned has the last value that it reported; without any, it counts as
    the worst of all runs.
    """
    frames, objective = view.frames, view.objective
    runs = frames.reported_runs
    runs = runs[runs["cell"].isin(view.comparable.cells)]
    ended = runs[runs["state"].isin([RunState.COMPLETE, RunState.FAILED, RunState.PRUNED])]
    seen = frames.curves[np.isfinite(frames.curves["objective"])]
    last = seen.drop_duplicates("run", keep="last").set_index("run")["objective"]
    y = last.reindex(ended.index) * (POINTS if objective.unit == "points" else 1.0)
    final = values(frames, measure=objective).reindex(ended.index)
    y = final.where(final.notna(), y)
    worst = y.max() if objective.direction == "minimize" else y.min()
    table = pd.DataFrame({"y": y.fillna(worst), "lost": ended["state"] != RunState.COMPLETE})
    factors = frames.cells["factors"]
    for one in view.factors:
        table[one.path] = pd.Series(
            [factors[cell].get(one.path) for cell in ended["cell"]], index=ended.index, dtype=object
        )
    return table


def _leveled(factor: Factor, runs: pd.DataFrame) -> bool:
    """Whether the factor has few levels with enough runs each."""
    if not 2 <= len(factor.levels) <= MOST_LEVELS:
        return False
    counts = [sum(one == level for one in runs[factor.path]) for level in factor.levels]
    return min(counts) >= LEAST_RUNS


def _is_rate(factor: Factor) -> bool:
    name = factor.path.rsplit(".", 1)[-1].lower()
    positive = all(is_number(one) and one > 0 for one in factor.levels)
    return name in RATES and positive and factor.levels[0] < factor.levels[-1]


def _near(y: Array, measure: Measure) -> float:
    if measure.unit == "points":
        return NEAR
    best = y.min() if measure.direction == "minimize" else y.max()
    return NEAR_PART * abs(float(best) - float(np.median(y)))


def _rates(mine: pd.DataFrame, rate: Factor | None, near: float, measure: Measure) -> Rates | None:
    """The learning rates of the runs that are nearly as good as the level's best."""
    if rate is None:
        return None
    y = mine["y"].to_numpy()
    best = y.min() if measure.direction == "minimize" else y.max()
    kept = [float(one) for one in mine[rate.path][np.abs(y - best) <= near] if is_number(one)]
    if not kept:
        return None
    whole = math.log(rate.levels[-1] / rate.levels[0])
    return Rates(len(kept), min(kept), max(kept), math.log(max(kept) / min(kept)) / whole)


def _curve(
    level: Any,
    mine: pd.DataFrame,
    measure: Measure,
    *,
    trials: NDArray[np.int64],
    each: float,
    rates: Rates | None,
) -> Curve:
    """The curve of one level, whose band holds with probability `each`."""
    y = mine["y"].to_numpy(dtype=float)
    minimize = measure.direction == "minimize"
    value, low, high = best_of(y, trials, level=each, ends=extremes(measure), minimize=minimize)
    best, lost = float(y.min() if minimize else y.max()), int(mine["lost"].sum())
    return Curve(level, len(y), lost, float(np.median(y)), best, value, low, high, rates)


def extremes(measure: Measure) -> tuple[float, float]:
    """The least and the largest value that there can be."""
    return (0.0, POINTS) if measure.bounded else (-math.inf, math.inf)


def best_of(
    y: Array,
    trials: NDArray[np.int64],
    *,
    level: float,
    ends: tuple[float, float] = (-math.inf, math.inf),
    minimize: bool = False,
) -> tuple[Array, Array, Array]:
    """The median of the best of n trials, and its band: value, low, high, each (trials,).

    Args:
        y: (N,) what single trials gave.
        level: the probability with which the band holds at all n at once.
        ends: the least and the largest value that there can be.
    """
    if minimize:
        value, low, high = best_of(-y, trials, level=level, ends=(-ends[1], -ends[0]))
        return -value, -high, -low
    ordered = np.sort(y)
    below, above = bands.limits(len(ordered), level)  # of F at each value
    wanted = 0.5 ** (1 / trials)  # F at the median of the best of n
    seen = np.arange(1, len(ordered) + 1) / len(ordered)
    value = ordered[np.searchsorted(seen, wanted - 1e-12)]
    # F is at least `below` at a value, so its quantile is at most the first with enough.
    at = np.searchsorted(below, wanted)
    high = np.where(at < len(ordered), ordered[np.minimum(at, len(ordered) - 1)], ends[1])
    # F is at most `above` before a value, so its quantile is at least the last with too little.
    at = np.searchsorted(above, wanted) - 1
    low = np.where(at >= 0, ordered[np.maximum(at, 0)], ends[0])
    return value, low, high


def _apart(
    curves: Sequence[Curve], trials: NDArray[np.int64], measure: Measure
) -> tuple[tuple[Any, Any, int], ...]:
    """The pairs whose bands do not meet, with the fewest trials at which they do not."""
    found = []
    for one, two in permutations(curves, 2):
        better = (one.high < two.low) if measure.direction == "minimize" else (one.low > two.high)
        if better.any():
            found.append((one.level, two.level, int(trials[better][0])))
    return tuple(found)


def rows(found: Tuning | None) -> pd.DataFrame:
    """Every level and number of trials as a row."""
    if found is None:
        return pd.DataFrame()
    return pd.DataFrame(
        [
            {
                "factor": found.factor.path,
                "level": one.level,
                "measure": found.measure.name,
                "trials": int(n),
                "value": value,
                "low": low,
                "high": high,
                "runs": one.runs,
                "lost": one.lost,
                "confidence": LEVEL,
                "family": len(found.curves),
                "method": METHOD,
            }
            for one in found.curves
            for n, value, low, high in zip(found.trials, one.value, one.low, one.high, strict=True)
        ]
    )
