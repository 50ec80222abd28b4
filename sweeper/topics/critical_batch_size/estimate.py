"""Steps to a target over batch size, and the critical batch size (2.10; McCandlish et al. 2018).

S(B) is the first evaluated step at which the best value so far on val is at the target, E = B S the
samples seen by then. (S / Smin - 1)(E / Emin - 1) = 1 is the same as S = Smin (1 + Bcrit / B) with
Bcrit = Emin / Smin: below Bcrit a larger batch saves steps, above it it wastes samples.

Evaluations are far apart, so the fit takes the middle between the evaluation that reached the
target and the one before: with the later one alone, intervals cover 20 to 90 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from sweeper.analysis import effects, student
from sweeper.analysis.factors import BATCH_SIZE, Factor
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate
from sweeper.analysis.measures import POINTS
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.states import RunState

PART = 0.95  # of the worst level's median at the end: the target
LEVELS = 3  # batch sizes that a fit of two numbers needs
SOONEST = 3  # evaluations: a target reached before tells too little of when
REACH = 4.0  # the fit looks that far beyond the batch sizes tried
STEPS = 65


@dataclass(frozen=True)
class Reached:
    """One batch size: the first evaluated step at the target, of each replicate that reached it.

    Attributes:
        steps: replicate -> step; the geometric mean where other factors are averaged over.
        between: the same, in the middle between that evaluation and the one before.
        censored: replicates that never reached it; left out of the fit, and counted.
        evaluation: the median number of the evaluation.
    """

    level: Any
    steps: dict[int, float]
    between: dict[int, float]
    censored: tuple[int, ...]
    evaluation: float

    @property
    def median(self) -> float:
        """The median of the steps; NaN where no replicate reached the target."""
        return float(np.median(list(self.steps.values()))) if self.steps else math.nan

    @property
    def samples(self) -> float:
        """Seen by the median step."""
        return self.median * float(self.level)


@dataclass(frozen=True)
class StepsLine:
    """All batch sizes at one level of the second factor.

    Attributes:
        target: in the measure's unit.
        critical: the critical batch size, with its interval where there is one.
        fitted: (batch size, steps) along the fitted curve; empty without a fit.
    """

    at: Any
    target: float
    reached: tuple[Reached, ...]
    critical: Estimate | Withheld
    fitted: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class StepsToTarget:
    """Steps to the target, line by line; `rule` says how the target was set.

    `measure` names the split that it is read on: `minority accuracy on val`.
    """

    x: Factor
    by: Factor | None
    measure: str
    unit: str
    rule: str
    lines: tuple[StepsLine, ...]


def build(view: SweepView) -> StepsToTarget | None:
    """Steps to a target; None where batch size is not the axis, or no curve was recorded."""
    x = view.x
    if x is None or x.path != BATCH_SIZE or not view.grid:
        return None
    if len(x.levels) < 2 or not view.frames.curves["objective"].notna().any():
        return None
    rule = (
        f"{100 * PART:.0f} % of the median, over replicates, of the best value on "
        f"{view.frames.split} of the batch size that ends worst"
    )
    lines, measure = tuple(_lines(view, x)), f"{view.objective.title} on {view.frames.split}"
    return StepsToTarget(x, view.by, measure, view.objective.unit, rule, lines)


def _lines(view: SweepView, x: Factor) -> Iterator[StepsLine]:
    curves = _curves(view)
    for level, held in view.lines():
        ends = _by_level(view, {run: best[-1] for run, (_, best) in curves.items()}, held)
        medians = ends.median(axis=1)
        if medians.isna().all():
            continue
        lowest = view.objective.direction == "minimize"
        target = float(medians.max() / PART if lowest else PART * medians.min())
        yield _line(view, x, curves, target=target, level=level, held=held)


def _curves(view: SweepView) -> dict[Any, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Steps and the best value so far, of each complete run that is compared."""
    runs = view.frames.reported_runs
    complete = runs[
        (runs["state"] == RunState.COMPLETE) & runs["cell"].isin(view.comparable.compared)
    ]
    rows = view.frames.curves[view.frames.curves["run"].isin(complete.index)]
    factor = POINTS if view.objective.unit == "points" else 1.0
    running = np.fmin if view.objective.direction == "minimize" else np.fmax
    return {
        run: (
            group["step"].to_numpy(dtype=float),
            running.accumulate(factor * group["objective"].to_numpy(dtype=float)),
        )
        for run, group in rows.groupby("run")
    }


def _by_level(
    view: SweepView, values: dict[Any, float], held: tuple[Factor, Any] | None
) -> pd.DataFrame:
    """A number of each run as y[level, r], averaged over the other factors in whole blocks."""
    if view.x is None:
        raise ValueError("no axis, no levels")
    runs = view.frames.reported_runs
    runs = runs[runs["cell"].isin(view.comparable.compared)]
    long = runs[["cell", "replicate"]].assign(y=pd.Series(values, dtype=float))
    wide = long.pivot(index="cell", columns="replicate", values="y")
    wide = wide.reindex(index=pd.Index(view.comparable.compared, name="cell"))
    fixed = {**view.held, held[0].path: held[1]} if held else view.held
    return effects.over_levels(wide, cells=view.frames.cells, factor=view.x, held=fixed)


def _line(
    view: SweepView,
    x: Factor,
    curves: dict[Any, tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    target: float,
    level: Any,
    held: tuple[Factor, Any] | None,
) -> StepsLine:
    lowest = view.objective.direction == "minimize"
    found = {run: first(*one, target=target, lowest=lowest) for run, one in curves.items()}
    tables = [
        _by_level(view, {run: value[part] for run, value in found.items()}, held)
        for part in range(3)
    ]
    ended = _by_level(view, {run: float(best[-1]) for run, (_, best) in curves.items()}, held)
    reached = tuple(
        _reached(one, *[table.iloc[at] for table in (*tables, ended)])
        for at, one in enumerate(x.levels)
    )
    logs = tables[1].to_numpy(dtype=float)
    fit = critical(np.array(x.levels, dtype=float), logs=logs, soonest=_soonest(reached))
    if isinstance(fit, Withheld):
        return StepsLine(level, target, reached, fit, ())
    estimate, smallest = fit
    grid = np.geomspace(float(x.levels[0]), float(x.levels[-1]), 33)
    fitted = tuple((float(b), float(smallest * (1 + estimate.value / b))) for b in grid)
    return StepsLine(level, target, reached, estimate, fitted)


def _reached(
    level: Any, steps: pd.Series, between: pd.Series, evaluation: pd.Series, ended: pd.Series
) -> Reached:
    seen = steps.dropna()
    return Reached(
        level,
        {int(r): math.exp(value) for r, value in seen.items()},  # pyright: ignore
        {int(r): math.exp(value) for r, value in between.dropna().items()},  # pyright: ignore
        tuple(int(r) for r in ended.dropna().index if r not in seen.index),
        float(evaluation.median()) if evaluation.notna().any() else math.nan,
    )


def _soonest(reached: Sequence[Reached]) -> float:
    return min((one.evaluation for one in reached if math.isfinite(one.evaluation)), default=0.0)


def first(
    steps: NDArray[np.float64], best: NDArray[np.float64], *, target: float, lowest: bool
) -> tuple[float, float, float]:
    """log step, log of the middle before it, and number of the first evaluation at the target.

    NaN three times where it is never reached: the run is censored.
    """
    there = np.flatnonzero(best <= target if lowest else best >= target)
    if not len(there):
        return math.nan, math.nan, math.nan
    at = int(there[0])
    before = steps[at - 1] if at else 0.0
    return math.log(steps[at]), math.log((steps[at] + before) / 2), float(at + 1)


def critical(
    batch: ArrayLike, *, logs: ArrayLike, soonest: float = math.inf
) -> tuple[Estimate, float] | Withheld:
    """The critical batch size from logs[level, r] of the steps, and the smallest number of steps.

    The curve is fitted to the means over replicates; the interval is a jackknife's over replicates,
    in logs. A level that fewer than half of the replicates reach is left out.
    """
    batch, logs = np.asarray(batch, dtype=float), np.asarray(logs, dtype=float)
    seen = np.isfinite(logs)
    kept = 2 * seen.sum(axis=1) >= max(logs.shape[1], 1)
    kept &= seen.any(axis=1)
    batch, logs = batch[kept], logs[kept]
    if len(batch) < LEVELS:
        return Withheld(f"Fewer than {LEVELS} batch sizes reach the target often enough.")
    logs = logs[:, np.isfinite(logs).any(axis=0)]
    n = logs.shape[1]
    whole = _fit(batch, np.nanmean(logs, axis=1))
    if whole is None:
        return Withheld("It lies outside of the batch sizes tried.")
    theta, smallest = whole
    low, high, note = math.nan, math.nan, ""
    if n < LEAST:
        note = f"n = {n}"
    elif soonest < SOONEST:
        note = "the target is reached within the first evaluations: raise train.evaluations"
    else:
        low, high, note = _jackknife(batch, logs, theta=theta)
    method = f"{LEVEL:.0%} jackknife t interval in logs over {n} replicates"
    estimate = Estimate(math.exp(theta), low, high, math.nan, n, math.nan, 1, method, note)
    return estimate, smallest


def _jackknife(
    batch: NDArray[np.float64], logs: NDArray[np.float64], *, theta: float
) -> tuple[float, float, str]:
    """The interval's ends, or NaN and why."""
    n = logs.shape[1]
    left = [np.delete(logs, r, axis=1) for r in range(n)]
    if not all(np.isfinite(one).any(axis=1).all() for one in left):
        return math.nan, math.nan, "a batch size rests on a single replicate"
    fits = [_fit(batch, np.nanmean(one, axis=1)) for one in left]
    thetas = [one[0] for one in fits if one is not None]
    if len(thetas) < n:
        return math.nan, math.nan, "without some replicate there is no fit"
    pseudo = n * theta - (n - 1) * np.array(thetas)
    sd = float(pseudo.std(ddof=1))
    if sd <= 1e-6:
        return math.nan, math.nan, "all replicates are equal"
    half = float(student.quantile(0.5 + LEVEL / 2, n - 1)) * sd / math.sqrt(n)
    return math.exp(pseudo.mean() - half), math.exp(pseudo.mean() + half), ""


def _fit(batch: NDArray[np.float64], logs: NDArray[np.float64]) -> tuple[float, float] | None:
    """log Bcrit and Smin by least squares of log S; None where the best lies at the end of reach.

    For each Bcrit the best Smin is a mean, so one number is searched: on a grid, then between.
    """

    def smallest(theta: ArrayLike) -> NDArray[np.float64]:
        return logs - np.log1p(np.exp(theta)[..., None] / batch)

    def loss(theta: ArrayLike) -> NDArray[np.float64]:
        return smallest(theta).var(axis=-1)

    ends = math.log(batch.min() / REACH), math.log(batch.max() * REACH)
    grid = np.linspace(*ends, STEPS)
    at = int(np.argmin(loss(grid)))
    if at in (0, STEPS - 1):
        return None
    found: Any = optimize.minimize_scalar(
        loss, bounds=(grid[at - 1], grid[at + 1]), method="bounded", options={"xatol": 1e-8}
    )
    theta = float(found.x)
    return theta, math.exp(float(smallest(theta).mean()))


def rows(found: StepsToTarget | None) -> list[dict[str, Any]]:
    """The step of each replicate at each batch size, NaN where the target is never reached."""
    return [
        {
            "by": line.at,
            "target": line.target,
            "batch_size": one.level,
            "replicate": replicate,
            "steps": one.steps.get(replicate, math.nan),
            **_fitted(line.critical),
        }
        for line in (found.lines if found else ())
        for one in line.reached
        for replicate in sorted({*one.steps, *one.censored})
    ]


def _fitted(one: Estimate | Withheld) -> dict[str, Any]:
    if isinstance(one, Withheld):
        return {"critical": math.nan, "low": math.nan, "high": math.nan, "note": one.reason}
    return {"critical": one.value, "low": one.low, "high": one.high, "note": one.note}
