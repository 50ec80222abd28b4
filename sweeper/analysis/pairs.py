"""Each level against each other level within replicates: the table behind the answer (section 5).

Paired t intervals, each with its own variance, that hold jointly with 95 % (Bonferroni over all
pairs). Which levels may be best, what each other level costs and the shape of the response are read
off this one table, so all that is said of a factor is true of every vector of means inside the
intervals: together these statements are wrong in at most 5 % of sweeps.

Letters: a levels, R complete replicates, k = a (a - 1) / 2 pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeper.analysis import student
from sweeper.analysis.intervals import FIRM, LEAST, LEVEL, Estimate, replicates_for, rounding

ALPHA = 1 - LEVEL
POWER_EQUAL = 1.28  # the normal quantile of 90 %: equality needs both sides


@dataclass(frozen=True)
class Pairs:
    """The table of all pairs. Arrays (a, a): at [i, j], level i minus level j, larger is better.

    Attributes:
        mean: mean difference over the complete replicates; NaN without any.
        low, high: ends of the joint interval; -inf and inf where the differences have no spread.
        sd: of the differences, over the replicates that estimate it; 0 where it is rounding.
        n: complete replicates, those that have every level.
        told: how many of these estimate the spread (fewer than n in two stages).
        shares: into how many parts planned looks divide the error.
        sign: 1 where larger is better in the measure's own unit, else -1.
        rule: how the number of replicates was planned, where that widens the intervals.
    """

    levels: tuple[Any, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sd: NDArray[np.float64]
    n: int
    told: int
    shares: int = 1
    sign: float = 1.0
    rule: str = ""

    @property
    def family(self) -> int:
        """The number of pairs that the intervals cover at once."""
        return len(self.levels) * (len(self.levels) - 1) // 2

    @property
    def beaten(self) -> NDArray[np.bool_]:
        """Which levels (a,) are worse than some other level."""
        return np.logical_or.reduce(self.low > 0, axis=0)

    @property
    def suggestive(self) -> bool:
        """Whether there are too few replicates to be firm."""
        return LEAST <= self.n < FIRM

    @property
    def note(self) -> str:
        """Why some or all pairs have no interval; empty where all have one."""
        if self.told < LEAST:
            return f"n = {self.told}"
        others = ~np.eye(len(self.levels), dtype=bool)
        if np.isinf(self.low[others]).any():
            return "some levels differ by the same in all replicates"
        return ""

    @property
    def method(self) -> str:
        """The method behind the intervals, as tables name it."""
        many = f", simultaneous over {self.family} pairs (Bonferroni)" if self.family > 1 else ""
        rule = f" ({self.rule})" if self.rule else ""
        return f"95% paired t interval over {self.n} replicates{rule}{many}"

    def within(self, limit: float) -> Pairs:
        """The same table where no difference can be larger than `limit`, as of two accuracies."""
        low, high = (
            np.where(np.isfinite(end), np.clip(end, -limit, limit), end)
            for end in (self.low, self.high)
        )
        return replace(self, low=low, high=high)

    def estimate(self, one: Any, two: Any) -> Estimate:
        """Level `one` minus level `two` in the measure's own sign, with the joint interval."""
        i, j = self.levels.index(one), self.levels.index(two)
        ends = [self.sign * float(end[i, j]) for end in (self.low, self.high)]
        low, high = sorted(ends) if all(map(math.isfinite, ends)) else (math.nan, math.nan)
        mean, sd = float(self.mean[i, j]), float(self.sd[i, j])
        note = ""
        if not math.isfinite(low):
            note = f"n = {self.told}" if self.told < LEAST else "all replicates are equal"
        p = math.nan
        if math.isfinite(low) and sd > 0:
            p = float(2 * student.tail(abs(mean) * math.sqrt(self.n) / sd, self.told - 1))
        return Estimate(
            self.sign * mean, low, high, sd, self.n, p, self.family, self.method, note, self.rule
        )


def bounds(
    y: NDArray[np.float64], *, told: int | None = None, shares: int = 1, floor: float = 0.0
) -> tuple[NDArray[np.float64], ...]:
    """The mean, low, high and sd (..., a, a) of y (..., a, R), which has no gap; larger is better.

    `mean +- max(floor, T(1 - .05 / (2 k shares), n0 - 1) s0 / sqrt(R))`, where s0 is the sd over
    the first `told` = n0 replicates (all of them, unless given). No spread or fewer than three
    replicates give no interval: -inf and inf.
    """
    a, n = y.shape[-2:]
    first = n if told is None else told
    d = y[..., :, None, :] - y[..., None, :, :]
    mean = d.sum(axis=-1) / n if n else np.full(d.shape[:-1], math.nan)
    sd = np.zeros_like(mean)
    if first > 1:
        sd = d[..., :first].std(axis=-1, ddof=1)
        largest = np.abs(d).max(axis=-1, initial=0.0)
        sd = np.where(sd <= rounding(largest), 0.0, sd)
    quantile = critical(a, df=first - 1, shares=shares) if first >= LEAST else math.nan
    sure = (sd > 0) & (first >= LEAST)
    half = np.where(sure, np.maximum(quantile * sd / math.sqrt(max(n, 1)), floor), math.inf)
    return mean, np.where(sure, mean - half, -math.inf), np.where(sure, mean + half, math.inf), sd


def critical(a: int, *, df: int, shares: int = 1) -> float:
    """T(1 - .05 / (2 k shares), df), the quantile of the joint intervals of `a` levels."""
    k = max(a * (a - 1) // 2, 1)
    return float(student.quantile(1 - ALPHA / (2 * k * shares), df))


def all_pairs(
    y: ArrayLike,
    *,
    levels: Sequence[Any] | None = None,
    direction: str = "maximize",
    first: Sequence[int] | None = None,
    shares: int = 1,
    floor: float = 0.0,
    rule: str = "",
) -> Pairs:
    """The table of all pairs of y (a, R), over the replicates that have every level.

    Args:
        first: columns of y that alone estimate the spread; those with a gap do not count.
        shares: planned looks, each of which gets its share of the error.
        floor: the half-width that an interval has at least.
    """
    y = np.asarray(y, dtype=float)
    sign = 1.0 if direction == "maximize" else -1.0
    kept = [at for at in range(y.shape[1]) if np.isfinite(y[:, at]).all()]
    told = None
    if first is not None:
        early = [at for at in first if at in set(kept)]
        kept = [*early, *(at for at in kept if at not in set(early))]
        told = len(early)
    mean, low, high, sd = bounds(sign * y[:, kept], told=told, shares=shares, floor=floor)
    names = tuple(range(len(y)) if levels is None else levels)
    n = len(kept)
    return Pairs(names, mean, low, high, sd, n, n if told is None else told, shares, sign, rule)


# --- levels


@dataclass(frozen=True)
class Standing:
    """What the table says of one level.

    Attributes:
        by: the level that beats it most clearly; None where none does.
        least, most: its cost against the best, from a to b; inf where no interval says.
        mean: how far its mean is behind the highest mean.
    """

    level: Any
    beaten: bool
    by: Any
    least: float
    most: float
    mean: float


def standings(found: Pairs) -> tuple[Standing, ...]:
    """What each level costs against the best, in the order of the levels.

    `a[j] = max(0, low[i, j] over all i)`, `b[j] = max(0, high[i, j] over i that may be best)`.
    """
    beaten, said = found.beaten, []
    best = np.flatnonzero(~beaten)
    for j, level in enumerate(found.levels):
        rivals = [int(i) for i in best if i != j]
        clearest = int(np.argmax(np.where(np.arange(len(beaten)) == j, -math.inf, found.low[:, j])))
        said.append(
            Standing(
                level,
                bool(beaten[j]),
                found.levels[clearest] if beaten[j] else None,
                max(0.0, float(found.low[clearest, j])),
                max([0.0, *(float(found.high[i, j]) for i in rivals)]),
                float(found.mean[:, j].max()),
            )
        )
    return tuple(said)


def undecided(found: Pairs, *, margin: float | None) -> tuple[Any, ...]:
    """The levels that may be best and are not shown to be about equal to the best."""
    return tuple(
        one.level
        for one in standings(found)
        if not one.beaten and one.most > (0.0 if margin is None else margin)
    )


# --- shape


class ShapeKind(StrEnum):
    """The shapes that the intervals can show of an ordered factor."""

    FLAT = "flat"
    DIPS = "dips"
    BETWEEN = "between"
    FALLS = "falls"
    RISES = "rises"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class ResponseShape:
    """The shape of a response over ordered levels.

    Attributes:
        start: FALLS: the first level of the beaten run to the end; RISES: the first level that is
            not beaten; BETWEEN: the first of those that are left; DIPS: the level of the dip.
        end: BETWEEN: the last of those that are left; else None.
    """

    kind: ShapeKind
    start: Any = None
    end: Any = None


def shape_of(found: Pairs, *, margin: float | None) -> ResponseShape:
    """The shape that follows from the intervals, of levels in their order."""
    levels, beaten = found.levels, found.beaten
    if margin is not None and max(one.most for one in standings(found)) <= margin:
        return ResponseShape(ShapeKind.FLAT)
    dip = next((j for j in range(1, len(levels) - 1) if _dips(found, j)), None)
    if dip is not None:
        return ResponseShape(ShapeKind.DIPS, levels[dip])
    left = np.flatnonzero(~beaten)
    first, last = int(left[0]), int(left[-1])
    if beaten[0] and beaten[-1]:
        return ResponseShape(ShapeKind.BETWEEN, levels[first], levels[last])
    if beaten[-1]:
        return ResponseShape(ShapeKind.FALLS, levels[last + 1])
    if beaten[0]:
        return ResponseShape(ShapeKind.RISES, levels[first])
    return ResponseShape(ShapeKind.UNDECIDED)


def _dips(found: Pairs, j: int) -> bool:
    """Whether a level before j and one after it are both better than j."""
    return bool((found.low[:j, j] > 0).any() and (found.low[j + 1 :, j] > 0).any())


# --- the price of a decision


@dataclass(frozen=True)
class Need:
    """About how many replicates would settle a level, and whether by showing it about equal."""

    replicates: int
    equal: bool


def needed(found: Pairs, level: Any, *, margin: float | None) -> Need | None:
    """What would settle a level that may be best; None where nothing says.

    The fewest replicates that would show it worse than a level whose mean is ahead, for a
    difference of the size seen, or about equal to every level that may be best, were it equal.
    """
    j, best = found.levels.index(level), np.flatnonzero(~found.beaten)
    size: dict[str, Any] = {
        "family": found.family,
        "n": found.n,
        "df": found.told - 1 if found.told != found.n else None,
        "shares": found.shares,
    }
    ahead = [i for i in range(len(found.levels)) if found.mean[i, j] > 0 and found.sd[i, j] > 0]
    counts = [replicates_for(float(found.mean[i, j] / found.sd[i, j]), **size) for i in ahead]
    needs = [Need(one, equal=False) for one in counts if one is not None]
    spread = max((float(found.sd[i, j]) for i in best if i != j), default=0.0)
    if margin is not None and spread > 0:
        equal = replicates_for(margin / spread, **{**size, "n": found.n - 1}, z=POWER_EQUAL)
        needs += [] if equal is None else [Need(equal + 1, equal=True)]
    return min(needs, key=lambda one: (one.replicates, one.equal), default=None)
