"""Simultaneous bands for a distribution function, exact at any number of values.

The i-th smallest of n values lies at a uniform order statistic of the distribution function, whose
own limits are quantiles of a Beta distribution. Their tail is chosen so that all n limits hold at
once (equal local levels; Aldor-Noiman et al., 2013). The probability comes from a Poisson process
that is followed from limit to limit (Moscovich and Nadler, 2017), not from simulation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array: TypeAlias = NDArray[np.float64]

MOST = 1000  # values; of more, the band of Dvoretzky, Kiefer and Wolfowitz, which is a little wider
DIGITS = 9  # of the limits, so that they are equal on every machine


@lru_cache(maxsize=256)
def limits(n: int, level: float) -> tuple[Array, Array]:
    """Limits of the distribution function at each of n values in rising order: low, high.

    With probability `level`, all values have it within theirs: F just below the value is at most
    high, and F at the value is at least low. Ties and discrete distributions keep the probability.
    """
    ranks = np.arange(1, n + 1)
    if n > MOST:
        half = math.sqrt(math.log(2 / (1 - level)) / (2 * n))
        return np.clip(ranks / n - half, 0, 1), np.clip((ranks - 1) / n + half, 0, 1)
    low, high = _local(n, _tail(n, level))
    return low.round(DIGITS), high.round(DIGITS)


def _local(n: int, tail: float) -> tuple[Array, Array]:
    """The limits that each order statistic misses with probability `tail`, on either side alike."""
    ranks = np.arange(1, n + 1)
    low, high = (special.betaincinv(ranks, n + 1 - ranks, q) for q in (tail / 2, 1 - tail / 2))
    return np.asarray(low), np.asarray(high)


def _tail(n: int, level: float) -> float:
    """The local tail under which all limits hold at once with probability `level`."""
    # Takes as long to import as all else that `status` needs of scipy, and is needed only here.
    from scipy.optimize import brentq

    whole = 1 - level
    if n == 1:
        return whole

    def excess(logarithm: float) -> float:
        return inside(*_local(n, math.exp(logarithm))) - level

    # Bonferroni's tail is small enough, and the whole tail is too large.
    found = brentq(excess, math.log(whole / n), math.log(whole), xtol=1e-7)
    return math.exp(float(found))  # pyright: ignore[reportArgumentType]


def inside(low: Array, high: Array) -> float:
    """The probability that each uniform order statistic lies within its limits.

    `low` and `high` (n,) do not fall. The number of values below t is a Poisson process, given that
    it ends at n: before low[i] it is at most i, at high[i] it is at least i + 1.
    """
    n = len(low)
    stops = sorted(
        [(float(t), 0, i) for i, t in enumerate(low)]
        + [(float(t), 1, i) for i, t in enumerate(high)]
    )
    least, most, now = 0, 0, 0.0  # counts that are still possible, and the time
    chance = np.ones(1)  # of the counts from `least` on
    for time, is_high, i in stops:
        chance, now = _grown(chance, n * (time - now), most - least + 1), time
        if is_high:
            cut = max(i + 1 - least, 0)
            chance, least = chance[cut:], least + cut
        else:
            most = i + 1
        if not len(chance):
            return 0.0
    chance = _grown(chance, n * (1.0 - now), n - least + 1)
    ends = float(chance[n - least]) if n - least < len(chance) else 0.0
    return ends / math.exp(special.xlogy(n, n) - n - special.gammaln(n + 1))


def _grown(chance: Array, mean: float, size: int) -> Array:
    """The chances of the counts after a time in which `mean` more values are expected."""
    if mean <= 0:
        return np.pad(chance, (0, max(size - len(chance), 0)))[:size]
    steps = np.arange(size)
    poisson = np.exp(steps * math.log(mean) - mean - _log_factorials(size))
    return np.convolve(chance, poisson)[:size]


@lru_cache(maxsize=4096)
def _log_factorials(size: int) -> Array:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
