"""Importance of the factors where the cells are no grid: Sobol indices of a fitted model.

For cells drawn at random, by Sobol points, or chosen by a sampler. A model of the cells' means is
fitted, then asked how much of its variance over the whole space each factor makes, alone and with
its interactions. There is no interval: replicates vary the cells, not the model. It is withheld
where the model does not predict cells that it has not seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import Factor
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.topics.screening import estimate as screening

FLOOR = 0.5  # of the cross-validated R2: a model that knows less says nothing of the sweep
LEAST_CELLS = 12
CELLS_A_FACTOR = 4
MOST_FOR_PROCESS = 200  # a Gaussian process costs the cube of the cells; beyond, a forest
FOLDS = 5
POINTS = 2048  # base points of the Sobol design, a power of two
METHOD = "model-based, no interval"

Model = Any  # of scikit-learn: fit(X, y), predict(X)


@dataclass(frozen=True)
class FactorShare:
    """How much of the model's variance a factor makes, 0 to 1."""

    factor: Factor
    alone: float  # first-order Sobol index
    total: float  # with all its interactions


@dataclass(frozen=True)
class Importance:
    """The factors, the most important first.

    Attributes:
        r2: share of the variance of unseen cells that the model predicts, in cross-validation.
        cells, n: cells fitted, and replicates that each mean is over (the fewest).
        family: 1, since nothing is tested.
    """

    measure: Measure
    shares: tuple[FactorShare, ...]
    model: str
    r2: float
    cells: int
    n: int
    family: int = 1
    method: str = METHOD


@dataclass(frozen=True)
class Scale:
    """How a factor is put to the model, and how it is drawn: evenly over its range or levels."""

    factor: Factor
    low: float
    high: float
    continuous: bool

    def encode(self, levels: Sequence[Any]) -> NDArray[np.float64]:
        """Columns of a numeric factor (n, 1) in 0..1, or one column a word (n, levels)."""
        known = self.factor.levels
        if self.factor.scale == "category":
            return np.array([[float(level == one) for one in known] for level in levels])
        place = np.array([self.factor.position(level) for level in levels])
        return ((place - self.low) / (self.high - self.low))[:, None]

    def draw(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The columns of even numbers u (n,) in 0..1."""
        if self.continuous:
            return u[:, None]
        columns = self.encode(self.factor.levels)
        return columns[np.minimum((u * len(columns)).astype(int), len(columns) - 1)]


def scale(factor: Factor, *, written: Any) -> Scale:
    """A factor's scale, `written` as the spec has it: a range is continuous, levels are not."""
    ends = factor.positions
    continuous = isinstance(written, dict) and "low" in written and factor.scale != "category"
    if continuous:
        ends = np.array([*ends, factor.position(written["low"]), factor.position(written["high"])])
    return Scale(factor, float(ends.min()), float(ends.max()), continuous)


def without_blocks(y: pd.DataFrame) -> pd.Series:
    """Each cell's mean with the replicates' own offsets taken out; cells without a run left out.

    Offsets and cells are fitted together by least squares (by turns), so a cell that lacks a lucky
    replicate is not the worse for it.
    """
    seen = y.dropna(how="all").dropna(how="all", axis=1)
    offsets = pd.Series(0.0, index=seen.columns)
    means = seen.mean(axis=1)
    for _ in range(100 if seen.isna().to_numpy().any() else 1):
        offsets = seen.sub(means, axis=0).mean(axis=0)
        offsets -= offsets.mean()
        before, means = means, seen.sub(offsets, axis=1).mean(axis=1)
        if float((means - before).abs().max()) < 1e-9:
            break
    return means


# scikit-learn takes seconds to import, which a sweep on a grid need not wait for.


def model_for(cells: int, *, columns: int) -> tuple[str, Model]:
    """A Gaussian process with a length for each column, or a forest where there are many cells."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if cells > MOST_FOR_PROCESS:
        return "random forest", RandomForestRegressor(200, min_samples_leaf=2, random_state=0)
    smooth = Matern(np.ones(columns), (5e-2, 1e2), nu=2.5)  # pyright: ignore[reportArgumentType]
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * smooth + WhiteKernel(0.1, (1e-5, 1e1))
    return "Gaussian process", GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


def fitted(model: Model, x: NDArray[np.float64], y: NDArray[np.float64]) -> Model:
    """A fitted copy; a length at its bound (a factor that does nothing) is no reason to warn."""
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        copy: Model = clone(model)
        return copy.fit(x, y)


def cross_validated(model: Model, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """R2 of cells that the model has not seen, in folds drawn with a fixed seed."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    seen = np.empty_like(y)
    for one in range(FOLDS):
        train, test = fold != one, fold == one
        seen[test] = fitted(model, x[train], y[train]).predict(x[test])
    return float(1 - ((y - seen) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def sobol(
    predict: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, scales: Sequence[Scale]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First-order and total indices (factors,) of `predict` on encoded points, in 0..1."""

    def of(u: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = [one.draw(row) for one, row in zip(scales, u, strict=True)]
        return predict(np.hstack(columns))

    found = stats.sobol_indices(
        func=of, n=POINTS, dists=[stats.uniform()] * len(scales), rng=np.random.default_rng(0)
    )
    return found.first_order.ravel().clip(0, 1), found.total_order.ravel().clip(0, 1)


def importance(
    means: pd.Series, *, levels: pd.DataFrame, scales: Sequence[Scale], measure: Measure, n: int
) -> Importance | Withheld:
    """Indices of a model of the cells' `means`, from each cell's `levels` (a column a path)."""
    factors = [one.factor for one in scales]
    least = max(LEAST_CELLS, CELLS_A_FACTOR * len(factors))
    if len(means) < least:
        return Withheld(
            f"{len(means)} cells with complete runs are too few to tell how important each of "
            f"{len(factors)} factors is; it takes {least}."
        )
    y = means.to_numpy(dtype=float)
    if float(np.ptp(y)) <= 1e-9 * max(1.0, float(np.abs(y).max())):
        return Withheld(
            "All cells have the same mean: there is nothing that a factor could explain."
        )
    x = np.hstack([one.encode(list(levels[one.factor.path])) for one in scales])
    name, model = model_for(len(y), columns=x.shape[1])
    r2 = cross_validated(model, x, y)
    if not r2 >= FLOOR:
        return Withheld(
            f"A {name} of the cells predicts only {max(r2, 0.0):.0%} of the variance of cells that "
            f"it has not seen (at least {FLOOR:.0%} is asked for): how important each factor is "
            "cannot be told from these cells."
        )
    alone, total = sobol(fitted(model, x, y).predict, scales=scales)
    shares = [
        FactorShare(*one) for one in zip(factors, map(float, alone), map(float, total), strict=True)
    ]
    shares.sort(key=lambda one: -one.total)
    return Importance(measure, tuple(shares), name, r2, len(y), n)


def build(view: SweepView) -> Importance | Withheld | None:
    """Importance on the objective; None on a grid (the exact table is there) or of one factor."""
    if view.comparable.comparison is not Comparison.SCATTER or len(view.factors) < 2:
        return None
    if view.of(screening.build) is not None:
        return None  # a model of cells that were left because they are good would be wrong
    y = view.responses[view.objective.name]
    means = without_blocks(y)
    factors = view.frames.cells["factors"]
    levels = pd.DataFrame(
        {
            one.path: pd.Series([factors[cell].get(one.path) for cell in means.index], dtype=object)
            for one in view.factors
        }
    )
    written = view.frames.question.factors
    scales = [scale(one, written=written.get(one.path)) for one in view.factors]
    counts = y.loc[means.index].notna().sum(axis=1)
    n = int(counts.min()) if len(counts) else 0
    return importance(means, levels=levels, scales=scales, measure=view.objective, n=n)


def rows(found: Importance | Withheld | None) -> pd.DataFrame:
    """Every factor as a row; of indices that are withheld, the reason."""
    if not isinstance(found, Importance):
        return pd.DataFrame([{"withheld": found.reason}] if found else [])
    return pd.DataFrame(
        [
            {
                "factor": one.factor.path,
                "measure": found.measure.name,
                "alone": one.alone,
                "total": one.total,
                "model": found.model,
                "r2_unseen": found.r2,
                "cells": found.cells,
                "n": found.n,
                "family": found.family,
                "method": found.method,
            }
            for one in found.shares
        ]
    )
