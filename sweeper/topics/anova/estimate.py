"""Exact factorial analysis of variance in balanced grids, the replicate as block (statistics 2.8).

y = grand mean + block + effects of the factors and of their interactions + noise. Shares are
noise-corrected points without an interval, because an interval for a share covers 56 to 96 % over
few replicates; each effect's own size has an exact one, from the noncentral F law.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import FIRM, LEAST, LEVEL, Estimate, holm, rounding
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld

ORDER = 3  # interactions of up to so many factors are told one by one
STEPS = 56  # halvings of a bracket for a noncentrality: a double has 53 digits


@dataclass(frozen=True)
class Explained:
    """A factor, or an interaction of several; without factors: the interactions of higher order.

    Attributes:
        p_adjusted: Holm's over the main effects, Benjamini-Hochberg's over the interactions.
        share: of what all effects together explain, corrected for noise; NaN when they explain
            nothing.
        size: Cohen's f2, the effect's mean square over that of the noise, with its exact interval;
            its `family` is 1, each interval on its own.
        epsilon: 1 for equal variances; its lower bound where replicates do not outnumber levels.
        p_epsilon: p of the repeat that holds under unequal variances and correlations (the
            effect's own error, degrees of freedom times epsilon), adjusted like p.
    """

    factors: tuple[Factor, ...]
    ss: float
    df: int
    f: float
    p: float
    p_adjusted: float
    share: float
    size: Estimate
    epsilon: float
    p_epsilon: float
    family: int
    adjustment: str
    alpha: float = 1 - LEVEL  # its share of the error, where replicates were added by looks

    @property
    def name(self) -> str:
        """`batch size`, `batch size x train ratio`."""
        names = [one.name for one in self.factors]
        return " \N{MULTIPLICATION SIGN} ".join(names) or "higher interactions"

    @property
    def clear(self) -> bool:
        """Whether it is there beyond noise, also where variances may differ."""
        return self.p_adjusted < self.alpha and not self.p_epsilon >= self.alpha


@dataclass(frozen=True)
class Anova:
    """The table: main effects first, then interactions by order.

    Attributes:
        n: complete replicates. dropped: planned ones that lack a cell.
        residual: mean square of the noise, (n - 1)(cells - 1) degrees of freedom.
        explained: the sum of all corrected components over that sum and the noise.
    """

    measure: Measure
    effects: tuple[Explained, ...]
    n: int
    cells: int
    dropped: tuple[int, ...]
    residual: float
    residual_df: int
    explained: float
    method: str

    @property
    def suggestive(self) -> bool:
        return self.n < FIRM


@dataclass(frozen=True)
class Squares:
    """Sums of squares of y (..., levels of each factor, R): one array (...) an effect."""

    axes: tuple[tuple[int, ...], ...]  # which factors an effect is of
    df: tuple[int, ...]
    ss: NDArray[np.float64]  # (effects, ...)
    residual: NDArray[np.float64]  # mean square (...)
    residual_df: int

    @property
    def f(self) -> NDArray[np.float64]:
        """F (effects, ...); NaN without any noise."""
        df = np.reshape(self.df, (-1, *[1] * (self.ss.ndim - 1)))
        noise = np.where(self.residual > 0, self.residual, np.nan)
        return self.ss / df / noise

    @property
    def p(self) -> NDArray[np.float64]:
        df = np.reshape(self.df, (-1, *[1] * (self.ss.ndim - 1)))
        return stats.f.sf(self.f, df, self.residual_df)


def squares(y: ArrayLike, *, factors: int, order: int = ORDER) -> Squares:
    """The exact table of y (..., a, b, ..., R) with `factors` axes before the last one.

    Interactions beyond `order` are pooled into one effect without axes, the last.
    """
    y = np.asarray(y, dtype=float)
    shape, replicates = y.shape[-factors - 1 : -1], y.shape[-1]
    cells = math.prod(shape)
    means = y.mean(axis=-1)
    centred = means - means.mean(axis=tuple(range(-factors, 0)), keepdims=True)
    axes = [
        one
        for size in range(1, min(order, factors) + 1)
        for one in combinations(range(factors), size)
    ]
    ss = [_sum_of_squares(centred, axes=one, shape=shape) * replicates for one in axes]
    df = [math.prod(shape[axis] - 1 for axis in one) for one in axes]
    if order < factors:
        total = replicates * (centred**2).sum(axis=tuple(range(-factors, 0)))
        ss.append(np.maximum(total - sum(ss), 0.0))
        axes.append(())
        df.append(cells - 1 - sum(df))
    residual_df = (replicates - 1) * (cells - 1)
    noise = _residuals(y, factors=factors)
    within = tuple(range(-factors - 1, 0))
    flat = np.abs(noise).max(axis=within) <= rounding(np.abs(y).max(axis=within))
    mean_square = np.where(flat, 0.0, (noise**2).sum(axis=within) / residual_df)
    return Squares(tuple(axes), tuple(df), np.array(ss), mean_square, residual_df)


def _residuals(y: NDArray[np.float64], *, factors: int) -> NDArray[np.float64]:
    """What neither the cell nor the block explains."""
    axes = tuple(range(-factors - 1, -1))
    without_blocks = y - y.mean(axis=axes, keepdims=True)
    return without_blocks - without_blocks.mean(axis=-1, keepdims=True)


def _contrast(
    means: NDArray[np.float64], *, axes: Sequence[int], factors: int
) -> NDArray[np.float64]:
    """An effect's part of cell means (..., a, b, ...): centred along its axes, else averaged."""
    for axis in range(factors):
        mean = means.mean(axis=axis - factors, keepdims=True)
        means = means - mean if axis in axes else mean
    return means


def _sum_of_squares(
    means: NDArray[np.float64], *, axes: Sequence[int], shape: Sequence[int]
) -> NDArray[np.float64]:
    part = _contrast(means, axes=axes, factors=len(shape))
    averaged = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
    return averaged * (part**2).sum(axis=tuple(range(-len(shape), 0)))


def epsilon_test(
    y: ArrayLike, *, axes: Sequence[int], factors: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epsilon of an effect of y (..., a, b, ..., R), and p of the repeat with it: arrays (...).

    The error is the effect's own, effect by block, so that cells may differ in variance and be
    correlated; both degrees of freedom shrink by epsilon. It is Greenhouse and Geisser's estimate
    where R > df + 1, else its lower bound 1 / df, which is always safe. NaN without any noise.
    """
    y = np.asarray(y, dtype=float)
    replicates = y.shape[-1]
    df = math.prod(y.shape[axis - factors - 1] - 1 for axis in axes)
    blocks = np.moveaxis(y, -1, -factors - 1)
    part = _contrast(blocks, axes=axes, factors=factors)
    part = part.reshape(*part.shape[:-factors], -1)
    mean = part.mean(axis=-2)
    around = part - mean[..., None, :]
    squares = (around**2).sum(axis=(-2, -1))
    seen = squares > (rounding(np.abs(y).max()) ** 2)
    error = np.where(seen, squares, np.nan) / (df * (replicates - 1))
    epsilon = np.full(error.shape, 1 / df)
    if replicates > df + 1:
        gram = around @ np.swapaxes(around, -1, -2)  # the covariance's trace and norm are its own
        norm = np.where(seen, (gram**2).sum(axis=(-2, -1)), np.nan)
        epsilon = np.clip(squares**2 / (df * norm), 1 / df, 1.0)
    f = replicates * (mean**2).sum(axis=-1) / df / error
    p = stats.f.sf(f, epsilon * df, epsilon * df * (replicates - 1))
    return np.where(seen, epsilon, np.nan), p


def size_bounds(
    f: ArrayLike, *, df: int, residual_df: int, n: int, level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact interval of Cohen's f2 = noncentrality / n, from F (...): low and high.

    `n` is the number of runs. The noncentralities at which F is the .975 and the .025 quantile of
    its noncentral law; 0 where there is none.
    """
    tail = (1 - level) / 2
    low = _noncentrality(f, df=df, residual_df=residual_df, below=1 - tail)
    high = _noncentrality(f, df=df, residual_df=residual_df, below=tail)
    return low / n, high / n


def _noncentrality(f: ArrayLike, *, df: int, residual_df: int, below: float) -> NDArray[np.float64]:
    """The noncentrality at which a share `below` of the law lies under F: by halving, (...)."""
    f = np.asarray(f, dtype=float)
    low, high = np.zeros_like(f), np.ones_like(f)
    for _ in range(STEPS):
        short = special.ncfdtr(df, residual_df, high, f) > below
        if not short.any():
            break
        high = np.where(short, 2 * high, high)
    for _ in range(STEPS):
        middle = (low + high) / 2
        more = special.ncfdtr(df, residual_df, middle, f) > below
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.where(special.fdtr(df, residual_df, f) <= below, 0.0, np.where(f >= 0, low, np.nan))


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p values (k,); NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    out, seen = np.full(p.shape, np.nan), np.isfinite(p)
    out[seen] = stats.false_discovery_control(p[seen]) if seen.any() else []
    return out


def anova(
    y: NDArray[np.float64],
    *,
    factors: Sequence[Factor],
    measure: Measure,
    dropped: Sequence[int] = (),
    alpha: float = 1 - LEVEL,
) -> Anova | Withheld:
    """The table of y (levels of each factor, R), complete replicates only."""
    replicates = y.shape[-1]
    if replicates < LEAST:
        return Withheld(
            f"{replicates} replicates hold every cell; what each factor explains needs {LEAST}."
        )
    found = squares(y, factors=len(factors))
    if not found.residual > 0:
        return Withheld(
            "All replicates show the same effects to the last digit; there is no noise to hold the "
            "factors against."
        )
    parts = np.maximum(found.ss - np.array(found.df) * found.residual, 0.0) / y.size
    whole = float(parts.sum())
    return Anova(
        measure,
        tuple(_effects(y, found, factors=factors, parts=parts, alpha=alpha)),
        replicates,
        y.size // replicates,
        tuple(dropped),
        float(found.residual),
        found.residual_df,
        whole / (whole + float(found.residual)),
        _method(found, n=replicates),
    )


def _effects(
    y: NDArray[np.float64],
    found: Squares,
    *,
    factors: Sequence[Factor],
    parts: NDArray[np.float64],
    alpha: float,
) -> Iterator[Explained]:
    repeats = [_repeat(y, axes) for axes in found.axes]
    p, p_epsilon = found.p, np.array([p for _, p in repeats])
    single = np.array([len(axes) == 1 for axes in found.axes])
    p_adjusted, p_repeat = np.empty_like(p), np.empty_like(p)
    for family, adjust in ((single, holm), (~single, benjamini_hochberg)):
        p_adjusted[family] = adjust(p[family])
        p_repeat[family] = adjust(p_epsilon[family])
    whole = float(parts.sum())
    for at, axes in enumerate(found.axes):
        yield Explained(
            factors=tuple(factors[axis] for axis in axes),
            ss=float(found.ss[at]),
            df=found.df[at],
            f=float(found.f[at]),
            p=float(p[at]),
            p_adjusted=float(p_adjusted[at]),
            share=float(parts[at]) / whole if whole else math.nan,
            size=_size(found, at, part=float(parts[at]), shape=y.shape),
            epsilon=repeats[at][0],
            p_epsilon=float(p_repeat[at]),
            family=int((single == single[at]).sum()),
            adjustment="Holm" if single[at] else "Benjamini-Hochberg",
            alpha=alpha,
        )


def _repeat(y: NDArray[np.float64], axes: Sequence[int]) -> tuple[float, float]:
    if not axes:
        return math.nan, math.nan
    epsilon, p = epsilon_test(y, axes=axes, factors=y.ndim - 1)
    return float(epsilon), float(p)


def _size(found: Squares, at: int, *, part: float, shape: Sequence[int]) -> Estimate:
    f, df = float(found.f[at]), found.df[at]
    runs = math.prod(shape)
    low, high = size_bounds(f, df=df, residual_df=found.residual_df, n=runs)
    noise = float(found.residual)
    method = f"{LEVEL:.0%} noncentral F interval over {shape[-1]} replicates"
    return Estimate(
        part / noise,
        float(low),
        float(high),
        math.sqrt(noise),
        shape[-1],
        float(found.p[at]),
        1,
        method,
    )


def of_noise(size: float) -> float:
    """Cohen's f2 as the effect's part of itself and the noise, 0 to 1 (partial eta squared)."""
    return 1.0 if math.isinf(size) else size / (1 + size)


def _method(found: Squares, *, n: int) -> str:
    return (
        f"exact F over {n} replicates as blocks, {found.residual_df} degrees of freedom of noise; "
        "Holm over main effects, Benjamini-Hochberg over interactions"
    )


def build(view: SweepView) -> Anova | Withheld | None:
    """The table of the objective over all factors; None with fewer than two factors or no grid."""
    if len(view.factors) < 2 or not view.grid:
        return None
    y = view.responses[view.objective.name].loc[list(view.comparable.compared)]
    whole = y.dropna(axis=1)
    dropped = [int(r) for r in y.columns if r not in whole.columns]
    cells = view.frames.cells["factors"]
    shape = [len(one.levels) for one in view.factors]
    places = [
        tuple(one.levels.index(cells[cell].get(one.path)) for one in view.factors)
        for cell in whole.index
    ]
    if sorted(places) != sorted(np.ndindex(*shape)):
        return Withheld(
            "Some combinations of levels are missing, or there twice: what each factor explains "
            "cannot be told apart exactly."
        )
    cube = np.empty((*shape, whole.shape[1]))
    cube[tuple(np.transpose(places))] = whole.to_numpy(dtype=float)
    alpha = (1 - LEVEL) / view.rule.shares
    return anova(cube, factors=view.factors, measure=view.objective, dropped=dropped, alpha=alpha)


def rows(found: Anova | Withheld | None) -> pd.DataFrame:
    """Every effect as a row; of a table that is withheld, the reason."""
    if not isinstance(found, Anova):
        return pd.DataFrame([{"withheld": found.reason}] if found else [])
    return pd.DataFrame(
        [
            {
                "effect": one.name,
                "factors": [part.path for part in one.factors],
                "measure": found.measure.name,
                "sum_of_squares": one.ss,
                "df": one.df,
                "f": one.f,
                "p": one.p,
                "p_adjusted": one.p_adjusted,
                "adjustment": one.adjustment,
                "family": one.family,
                "epsilon": one.epsilon,
                "p_epsilon": one.p_epsilon,
                "share": one.share,
                "f2": one.size.value,
                "f2_low": one.size.low,
                "f2_high": one.size.high,
                "interval": one.size.method,
                "n": found.n,
                "noise_mean_square": found.residual,
                "noise_df": found.residual_df,
                "explained": found.explained,
                "method": found.method,
            }
            for one in found.effects
        ]
    )
