"""Intervals of a mean difference under a plan for the number of replicates (statistics 3.3).

Stein's two stages: the spread of the first replicates alone says how many it takes to know each
difference to within a half-width. Mean and spread of normal noise are independent, so the interval
made of the final mean, the first spread and its degrees of freedom is exact, where one with the
final spread is not. Planned looks: each gets its share of the error.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeper.analysis import student
from sweeper.analysis.intervals import LEVEL, Estimate, mean_interval

ALPHA = 1 - LEVEL


def stein(first: ArrayLike, *, half_width: float, cap: int, family: int = 1) -> int:
    """How many replicates give a difference an interval of this half-width.

    `max(n0, ceil((T(1 - .05 / (2 family), n0 - 1) s0 / h)^2))`, at most `cap`; n0 and s0 are of
    the first stage (n0,). Source: Stein 1945.
    """
    x = _finite(first)
    if len(x) < 2:
        return cap
    need = (_quantile(family=family, df=len(x) - 1) * float(x.std(ddof=1)) / half_width) ** 2
    return min(max(len(x), math.ceil(min(need, cap))), cap)


def stein_interval(
    values: ArrayLike, *, first: ArrayLike, half_width: float = 0.0, family: int = 1
) -> Estimate:
    """The mean of `values` (N,) with `mean +- max(h, T(.975, n0 - 1) s0 / sqrt(N))`.

    `first` (n0,) are the differences of the first stage, which `values` hold too; `sd` is theirs.
    """
    x, start = _finite(values), _finite(first)
    plain = mean_interval(x, family=family)
    spread = mean_interval(start, family=family)
    n, n0 = len(x), len(start)
    together = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    method = (
        f"95% two-stage interval (Stein) over {n} replicates, spread of the first {n0}{together}"
    )
    rule = f"two stages, spread of the first {n0}"
    if not spread.known:
        return replace(
            plain,
            low=math.nan,
            high=math.nan,
            p=math.nan,
            method=method,
            note=spread.note,
            rule=rule,
        )
    error = spread.sd / math.sqrt(n)
    half = max(half_width, _quantile(family=family, df=n0 - 1) * error)
    p = float(2 * student.tail(abs(plain.value) / error, n0 - 1))
    return Estimate(
        plain.value,
        plain.value - half,
        plain.value + half,
        spread.sd,
        n,
        p,
        family,
        method,
        "",
        rule,
    )


def look_interval(values: ArrayLike, *, looks: int, at: int = 0, family: int = 1) -> Estimate:
    """The t interval of `values` (n,) at one of several looks, each with its share of the error.

    `mean +- T(1 - .05 / (2 family looks), n - 1) s / sqrt(n)`; look `at` counts from 1, 0 is none
    of the planned ones.
    """
    x = _finite(values)
    found = mean_interval(x, family=family, level=1 - ALPHA / looks)
    which = f"look {at} of {looks}" if at else f"between {looks} looks"
    together = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    method = (
        f"t interval over {len(x)} replicates at {which}: {1 - ALPHA / looks:.1%} each, 95% over "
        f"all looks{together}"
    )
    return replace(found, method=method, rule=which)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=float).ravel()
    return x[np.isfinite(x)]


def _quantile(*, family: int, df: int, shares: int = 1) -> float:
    return float(student.quantile(1 - ALPHA / (2 * family * shares), df))
