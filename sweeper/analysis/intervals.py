"""Intervals that hold their level with few replicates: Student's t, Clopper-Pearson, families.

No bootstrap: over 3 to 10 replicates its intervals cover 73 to 90 % where 95 % is claimed.
An estimate never travels without its interval, its n, its method and the size of its family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from sweeper.analysis import student

LEVEL = 0.95
LEAST = 3  # fewer replicates than this get no interval
FIRM = 5  # fewer than this: never better than "suggestive"
POWER = 0.84  # the normal quantile of a power of 80 %
MOST = 1_000_000  # more replicates than this are not named
FLIPS = 6  # fewer replicates than this cannot tell by their signs


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `low` and `high` are NaN where there is none, and `note` says why.

    `p` is two-sided, against 0, before any adjustment. `family` is the number of comparisons that
    the interval covers at once (Bonferroni); 1 is an interval on its own.
    """

    value: float
    low: float
    high: float
    sd: float
    n: int
    p: float
    family: int
    method: str
    note: str = ""
    rule: str = ""  # how the number of replicates was planned, where that widens the interval

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit; `factor` is positive."""
        return replace(
            self,
            value=self.value * factor,
            low=self.low * factor,
            high=self.high * factor,
            sd=self.sd * factor,
        )


@dataclass(frozen=True)
class Bounds:
    """Many means at once: arrays of one shape; `low`, `high` and `p` NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sd: NDArray[np.float64]
    n: NDArray[np.int64]
    p: NDArray[np.float64]


def t_bounds(values: ArrayLike, *, family: int = 1, level: float = LEVEL) -> Bounds:
    """The means of `values` (..., R) over the last axis, as `mean_interval` has them."""
    x = np.asarray(values, dtype=float)
    seen = np.isfinite(x)
    n = seen.sum(axis=-1)
    x = np.where(seen, x, 0.0)
    value = x.sum(axis=-1) / np.where(n > 0, n, np.nan)
    squares = np.where(seen, (x - value[..., None]) ** 2, 0.0).sum(axis=-1)
    sd = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    sd = np.where(sd <= rounding(np.abs(x).max(axis=-1, initial=0.0)), 0.0, sd)
    error = np.where((n >= LEAST) & (sd > 0), sd, np.nan) / np.sqrt(np.maximum(n, 1))
    df = np.maximum(n - 1, 1)
    half = student.quantile(1 - (1 - level) / (2 * family), df) * error
    p = 2 * student.tail(np.abs(value) / error, df)
    return Bounds(value, value - half, value + half, sd, n, p)


def mean_interval(values: ArrayLike, *, family: int = 1, level: float = LEVEL) -> Estimate:
    """The mean of `values` (R,), with `m +- T(1 - alpha / (2 family), R - 1) s / sqrt(R)`.

    Numbers that are not finite are left out, and do not count in n. Fewer than three, or no
    variance at all, give no interval: equal values are a sign of a saturated metric, not of
    certainty.
    """
    one = np.asarray(values, dtype=float).ravel()
    return mean_intervals(one[None], family=family, level=level)[0]


def mean_intervals(values: ArrayLike, *, family: int = 1, level: float = LEVEL) -> list[Estimate]:
    """`mean_interval` of each row of `values` (N, R)."""
    found = t_bounds(values, family=family, level=level)
    parts = (found.value, found.low, found.high, found.sd, found.n, found.p)
    return [
        Estimate(
            *(value, low, high, sd, n, p),
            family,
            _method(level, family=family, n=n),
            f"n = {n}" if n < LEAST else "all replicates are equal" if sd == 0.0 else "",
        )
        for value, low, high, sd, n, p in zip(*(part.tolist() for part in parts), strict=True)
    ]


def rounding(largest: ArrayLike) -> NDArray[np.float64]:
    """A spread of no more than this is rounding, among numbers as large as `largest`."""
    return 1e-12 * np.maximum(1.0, np.asarray(largest, dtype=float))


def _method(level: float, *, family: int, n: int) -> str:
    many = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    return f"{level:.0%} t interval over {n} replicates{many}"


def clopper_pearson(
    count: int, *, n: int, level: float = LEVEL, one_sided: bool = False
) -> tuple[float, float]:
    """The exact interval of a share `count` of `n`; `one_sided` puts all error above.

    Returns (0, 1) for n = 0: nothing was seen.
    """
    if n == 0:
        return 0.0, 1.0
    tail = (1 - level) if one_sided else (1 - level) / 2
    low = 0.0 if count == 0 or one_sided else float(special.betaincinv(count, n - count + 1, tail))
    high = 1.0 if count == n else float(special.betaincinv(count + 1, n - count, 1 - tail))
    return low, high


def fieller(
    a: float, b: float, *, v: NDArray[np.float64], quantile: float
) -> tuple[float, float] | None:
    """The set of x with (a + b x)^2 <= quantile^2 var(a + b x); None where it has no two ends.

    v is the covariance (2, 2) of a and b.
    """
    t = quantile**2
    square, half, rest = b * b - t * v[1, 1], a * b - t * v[0, 1], a * a - t * v[0, 0]
    if square <= 0:
        return None
    root = math.sqrt(max(half * half - square * rest, 0.0))
    return (-half - root) / square, (-half + root) / square


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p values (k,); NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    # statsmodels.multipletests collects garbage in every call: 60 ms where this takes 0.02.
    out = np.full(p.shape, np.nan)
    seen = np.flatnonzero(np.isfinite(p))
    order = seen[np.argsort(p[seen], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else []
    return out


def sign_flip(values: ArrayLike) -> float:
    """The exact two-sided p of differences (R,) if each could as well have the other sign.

    Over all 2^R signs, half by half so that R = 40 takes no longer. NaN below six replicates, whose
    smallest p is above .05, and beyond 40, where t is as good.
    """
    d = np.asarray(values, dtype=float).ravel()
    d = d[np.isfinite(d)]
    if not FLIPS <= len(d) <= 40:
        return math.nan
    sums = []
    for half in np.array_split(d, 2):
        total = np.zeros(1)
        for one in half:
            total = np.concatenate([total + one, total - one])
        sums.append(np.sort(total))
    reach = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())
    beyond = len(sums[1]) - np.searchsorted(sums[1], reach - sums[0])
    return min(2 * float(beyond.sum()) / 2 ** len(d), 1.0)


def replicates_needed(
    estimate: Estimate, *, df: int | None = None, shares: int = 1, z: float = POWER
) -> int | None:
    """About how many replicates would separate such a mean from 0; None without a variance.

    From the observed mean and sd: a rough guide. `replicates_for` has the formula.
    """
    if estimate.n < LEAST or not estimate.sd > 0 or not math.isfinite(estimate.value):
        return None
    ratio = abs(estimate.value) / estimate.sd
    return replicates_for(ratio, family=estimate.family, n=estimate.n, df=df, shares=shares, z=z)


def replicates_for(
    ratio: float,
    *,
    family: int,
    n: int,
    df: int | None = None,
    shares: int = 1,
    z: float = POWER,
) -> int | None:
    """The smallest N above `n` with N >= ((T(1 - .05 / (2 family shares), N - 1) + z) / ratio)^2.

    Args:
        ratio: mean over sd of the differences.
        df: degrees of freedom, where the spread is that of a first stage; N - 1 unless given.
        shares: the parts that planned looks divide the error into.
        z: normal quantile of the power; 0.84 is 80 %.

    Returns None where no N up to a million does.
    """
    if not (math.isfinite(ratio) and ratio > 0):
        return None
    tail = (1 - LEVEL) / (2 * family * shares)

    def short(count: int) -> bool:
        quantile = float(student.quantile(1 - tail, count - 1 if df is None else df))
        return ((quantile + z) / ratio) ** 2 > count

    low = max(n, LEAST - 1)
    high = low + 1
    while short(high):  # what is wanted falls with N, so it is met from some N on
        low, high = high, 2 * high
        if low > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high if high <= MOST else None


def as_row(estimate: Estimate) -> dict[str, Any]:
    """An estimate as columns of a table."""
    return {
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "sd": estimate.sd,
        "n": estimate.n,
        "p": estimate.p,
        "family": estimate.family,
        "method": estimate.method,
        "note": estimate.note,
    }
