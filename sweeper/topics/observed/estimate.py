"""What the observers measured: each number by level of the axis, for minority and majority.

Letters: r a replicate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis import effects, student
from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import observed
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, fieller, mean_interval
from sweeper.analysis.measures import Measure, responses, words
from sweeper.analysis.view import SweepView
from sweeper.states import RunState

# What a reader calls the targets that are compared.
TARGETS = {"group:minority": "minority", "group:majority": "majority", "": "all classes"}
# Numbers that are a quotient: means over runs are divided, because a mean of quotients is biased.
QUOTIENTS = {"gradient_noise": ("gradient_variance", "gradient_square")}


@dataclass(frozen=True)
class ObservedNumber:
    """One number that was observed.

    Attributes:
        split, metric, target: its place in the layout.
        means: at each level of the axis.
        changes: paired differences from the reference level, simultaneous over the levels; None at
            the reference, and for a quotient.
    """

    split: str
    metric: str
    target: str
    means: tuple[Estimate, ...]
    changes: tuple[Estimate | None, ...]

    @property
    def title(self) -> str:
        """`input margin of the minority on test`."""
        return f"{words(self.metric)} of {named(self.target)} on {self.split}"


def named(target: str) -> str:
    """`the minority`, `all classes`."""
    name = TARGETS[target]
    return name if target == "" else f"the {name}"


@dataclass(frozen=True)
class Course:
    """A quotient along the training, at one level: means over complete runs, divided."""

    split: str
    metric: str
    target: str
    level: Any
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ObservedNumbers:
    """All numbers that were observed, in the order of the layout, and how quotients went on."""

    factor: Factor
    numbers: tuple[ObservedNumber, ...]
    courses: tuple[Course, ...]


def build(view: SweepView) -> ObservedNumbers | None:
    """Each observed number by level; None without an axis, pairs or observers."""
    keys = observed(view.frames.sweep).values()
    if view.x is None or not view.grid or not keys:
        return None
    found = tuple(_number(view, view.x, key) for key in keys)
    return ObservedNumbers(view.x, found, tuple(_courses(view, view.x)))


def _number(view: SweepView, factor: Factor, key: tuple[str, str, str]) -> ObservedNumber:
    split, metric, target = key
    y = _levels(view, factor, key)
    if metric in QUOTIENTS:
        above, below = (_levels(view, factor, (split, one, target)) for one in QUOTIENTS[metric])
        means = tuple(quotient(a, below=b) for a, b in zip(above, below, strict=True))
        return ObservedNumber(split, metric, target, means, (None,) * len(means))
    base, family = factor.levels.index(factor.reference), len(factor.levels) - 1
    changes = tuple(
        None if at == base else mean_interval(row - y[base], family=family)
        for at, row in enumerate(y)
    )
    means = tuple(mean_interval(row) for row in y)
    return ObservedNumber(split, metric, target, means, changes)


def _levels(view: SweepView, factor: Factor, key: tuple[str, str, str]) -> NDArray[np.float64]:
    """y[level, r] of a number, conditions held where the question asks."""
    measure = Measure(key[1], words(key[1]), key, "", "maximize")
    y: pd.DataFrame = responses(view.frames, measure=measure, cells=list(view.comparable.compared))
    frame = effects.over_levels(y, cells=view.frames.cells, factor=factor, held=view.held)
    return frame.to_numpy(dtype=float)


def quotient(above: NDArray[np.float64], *, below: NDArray[np.float64]) -> Estimate:
    """mean(above) / mean(below) over paired replicates (R,), with Fieller's interval.

    There is none where `below` may be 0.
    """
    seen = np.isfinite(above) & np.isfinite(below)
    a, b, n = above[seen], below[seen], int(seen.sum())
    method = f"{LEVEL:.0%} interval of a quotient of means by Fieller over {n} replicates"
    nan = math.nan
    if n == 0 or b.mean() <= 0:
        why = f"n = {n}" if n == 0 else "the mean below is not positive"
        return Estimate(nan, nan, nan, nan, n, nan, 1, method, why)
    value = float(a.mean() / b.mean())
    if n < LEAST:
        return Estimate(value, nan, nan, nan, n, nan, 1, method, f"n = {n}")
    v = np.cov(-a, b) / n
    quantile = float(student.quantile(0.5 + LEVEL / 2, n - 1))
    ends = fieller(-float(a.mean()), float(b.mean()), v=v, quantile=quantile)
    if ends is None:
        return Estimate(value, nan, nan, nan, n, nan, 1, method, "the mean below may be 0")
    return Estimate(value, *ends, nan, n, nan, 1, method)


def _courses(view: SweepView, factor: Factor) -> Iterator[Course]:
    """The courses of every quotient that was looked at more than once."""
    factors, held = view.frames.cells["factors"], view.held.items()
    runs = view.frames.reported_runs
    compared = runs["cell"].isin(list(view.comparable.compared))
    runs = runs[compared & (runs["state"] == RunState.COMPLETE)]
    runs = runs[[held <= factors[cell].items() for cell in runs["cell"]]]
    for name, (split, metric, target) in observed(view.frames.sweep).items():
        if metric not in QUOTIENTS:
            continue
        parts = [name.replace(metric, one) for one in QUOTIENTS[metric]]
        for level in factor.levels:
            own = [factors[cell].get(factor.path) == level for cell in runs["cell"]]
            curves = view.frames.curves
            here = curves[curves["run"].isin(runs.index[own])]
            means = here.groupby("epoch")[parts].mean().dropna()
            values = means[parts[0]] / means[parts[1]].where(means[parts[1]] > 0)
            if len(values) > 1:
                epochs = tuple(int(epoch) for epoch in values.index)
                yield Course(split, metric, target, level, epochs, tuple(values))


def rows(found: ObservedNumbers | None) -> list[dict[str, Any]]:
    """Each number at each level as a row."""
    return [] if found is None else list(_rows(found))


def _rows(found: ObservedNumbers) -> Iterator[dict[str, Any]]:
    for one in found.numbers:
        levels: Sequence[Any] = found.factor.levels
        for level, mean, change in zip(levels, one.means, one.changes, strict=True):
            yield {
                "factor": found.factor.path,
                "split": one.split,
                "metric": one.metric,
                "target": one.target,
                "level": level,
                "n": mean.n,
                "mean": mean.value,
                "low": mean.low,
                "high": mean.high,
                "method": mean.method,
                "change": change.value if change else math.nan,
                "change_low": change.low if change else math.nan,
                "change_high": change.high if change else math.nan,
                "change_family": change.family if change else math.nan,
            }
