"""Slope per doubling, or over the range, and whether it grows with the imbalance (statistics 2.4).

A slope is fitted in each replicate, then the t interval is taken over replicates. A regression
pooled over replicates covers 78 to 84 % where 95 % is claimed, once slopes or errors vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import Estimate, mean_interval


@dataclass(frozen=True)
class Trend:
    """The mean slope of one line, and the slope of each complete replicate."""

    at: Any  # the second factor's level; None over all of them
    estimate: Estimate
    by_replicate: dict[int, float]
    dropped: tuple[int, ...]


@dataclass(frozen=True)
class Interaction:
    """How much the slope (or the difference of two levels) changes from `weak` to `strong`."""

    weak: Any
    strong: Any
    estimate: Estimate


def slope(x: ArrayLike, *, y: ArrayLike) -> NDArray[np.float64]:
    """b[r] = sum((x - mean x) y[., r]) / sum((x - mean x)^2): from y (..., levels, R), (..., R)."""
    x = np.asarray(x, dtype=float)
    centred = x - x.mean()
    return centred @ np.asarray(y, dtype=float) / (centred @ centred)


def slopes(x: ArrayLike, *, y: pd.DataFrame) -> pd.Series:
    """The slope of each replicate that has every level."""
    complete = y.dropna(axis=1)
    return pd.Series(slope(x, y=complete), index=complete.columns)


def trend(y: pd.DataFrame, *, factor: Factor, at: Any = None) -> Trend:
    """The slope of y[level, r] along a numeric factor."""
    b = slopes(factor.steps, y=y)
    dropped = tuple(int(r) for r in y.columns if r not in b.index)
    by_replicate = {int(r): float(value) for r, value in b.items()}  # pyright: ignore
    return Trend(at, mean_interval(b.to_numpy()), by_replicate, dropped)


def interaction(weak: Trend, *, strong: Trend) -> Interaction:
    """b[r | strong] - b[r | weak], over the replicates that have both."""
    shared = sorted(set(weak.by_replicate) & set(strong.by_replicate))
    d = [strong.by_replicate[r] - weak.by_replicate[r] for r in shared]
    return Interaction(weak.at, strong.at, mean_interval(d))
