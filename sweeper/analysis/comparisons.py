"""Every level against every other within replicates: comparisons with the best (Hsu 1984).

The level that is truly best stays with at least 95 %, whatever the variances (statistics 2.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeper.analysis.intervals import LEAST, LEVEL, rounding
from sweeper.analysis.stopping import PLAIN, Rule, SteinTwoStage

POWER = 0.84  # the normal quantile of 80 %, as the rule for N has it


MOST = 1e6  # more replicates than this are not named


@dataclass(frozen=True)
class Pairs:
    """Arrays (..., a, a): at [j, k], level k against level j, within replicates that have both."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    n: NDArray[np.int64]
    told: NDArray[np.int64]  # of these, the replicates that tell the sd
    p: NDArray[np.float64]  # one-sided, that k is the better; NaN without an interval

    def beats(self, *, level: float = LEVEL) -> NDArray[np.bool_]:
        """Whether k beats j: t above T(1 - .05 / (a - 1), R - 1)."""
        return self.p < (1 - level) / max(self.p.shape[-1] - 1, 1)


def pairs(
    y: NDArray[np.float64], *, direction: str = "maximize", start: int | None = None
) -> Pairs:
    """Every level against every other, each pair with its own variance; y (..., a, R).

    Fewer than three replicates, or differences without any variance, give no p. With `start` the
    number of replicates followed from the spread of the first ones: then those alone tell each
    pair's spread and its degrees of freedom (Stein 1945).
    """
    sign = 1.0 if direction == "maximize" else -1.0
    d = sign * (y[..., None, :, :] - y[..., :, None, :])
    seen = np.isfinite(d)
    n = seen.sum(axis=-1)
    d = np.where(seen, d, 0.0)
    mean = d.sum(axis=-1) / np.maximum(n, 1)
    sd, told = _spread(d, seen if start is None else seen & (seen.cumsum(axis=-1) <= start))
    sure = (told >= LEAST) & (sd > 0)
    t = mean * np.sqrt(n) / np.where(sure, sd, 1.0)
    p = np.where(sure, stats.t.sf(t, np.maximum(told - 1, 1)), np.nan)
    return Pairs(np.where(n > 0, mean, np.nan), np.where(told > 1, sd, np.nan), n, told, p)


def _spread(
    d: NDArray[np.float64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The sd of what is seen of d (..., R), 0 where it is rounding, and how many that are."""
    n = seen.sum(axis=-1)
    mean = np.where(seen, d, 0.0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(seen, (d - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    sd = np.sqrt(squares / np.maximum(n - 1, 1))
    return np.where(sd <= rounding(np.abs(d).max(axis=-1, initial=0.0)), 0.0, sd), n


def kept(
    y: NDArray[np.float64], *, direction: str = "maximize", rule: Rule = PLAIN
) -> NDArray[np.bool_]:
    """Which levels (..., a) no other level beats, where replicates were planned by `rule`."""
    found = pairs(y, direction=direction, start=start_of(rule))
    return np.asarray(~found.beats(level=level_of(rule)).any(axis=-1))


def start_of(rule: Rule) -> int | None:
    """The number of first replicates that estimate the variance; None: all of them."""
    return rule.start if isinstance(rule, SteinTwoStage) else None


def level_of(rule: Rule) -> float:
    """How sure a single look is: each has its share of the error."""
    return 1 - (1 - LEVEL) / rule.shares


def needed(mean: float, *, sd: float, n: int, told: int | None = None) -> int | None:
    """About how many replicates would separate two levels: ((T(.975, n-1) + 0.84) sd / mean)^2.

    At least one more than there are; None where it cannot be told, or is past a million. `told`:
    how many replicates tell the spread, where those are not all.
    """
    told = n if told is None else told
    if told < LEAST or not sd > 0 or not mean:
        return None
    about = ((float(stats.t.ppf(0.975, told - 1)) + POWER) * sd / abs(mean)) ** 2
    return max(math.ceil(about), n + 1) if about < MOST else None


def method(n: int, *, most: int, family: int, rule: Rule, what: str = "level") -> str:
    """The method behind a set of best levels, from `n` to `most` replicates."""
    span, start = f"{n}" if n == most else f"{n} to {most}", start_of(rule)
    spread = f", spread of the first {start} (Stein)" if start is not None else ""
    return (
        f"one-sided paired t at {100 * level_of(rule):.3g}% over {span} replicates{spread}, "
        f"each {what} against {family} others (Bonferroni)"
    )
