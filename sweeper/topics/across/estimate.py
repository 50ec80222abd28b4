"""Several sweeps of one question, such as one a data set: what holds in all of them (2.11).

The sweep (the task) is the unit of every interval here: replicates of different tasks are never
pooled for a test. Letters: T tasks, a levels that all of them have, y[task][level, r].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sweeper.analysis.effects import Difference, paired
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, holm, mean_interval
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView
from sweeper.topics.differences.estimate import planned
from sweeper.topics.performance_profiles.estimate import Profiles, profiles

TASKS = 5  # fewer give a description, and no interval
ADOPT = 0.75  # a level worth adopting wins more often than this


@dataclass(frozen=True)
class TaskedLevel:
    """One level over all tasks.

    Attributes:
        iqm: interquartile mean of y over tasks and replicates: a description.
        difference: mean over tasks of the mean paired difference from the reference; n is T.
        p_wilcoxon: exact signed-rank test over tasks, two-sided; NaN below `TASKS` tasks.
        wins: P(a run of this level beats a run of the reference), the mean over tasks.
        adopt: whether `wins` lies above one half with its interval, and above `ADOPT` itself.
    """

    level: Any
    iqm: float
    difference: Estimate | None  # None: the reference itself
    p_holm: float
    p_wilcoxon: float
    wins: Estimate | None
    adopt: bool


@dataclass(frozen=True)
class Across:
    """A factor over several tasks.

    Attributes:
        agreement: Kendall's W of the tasks' rankings of the levels, 0 (none) to 1 (all the same).
        correlations: (task, task, Spearman's rho of their levels' means).
        by_task: task, level, mean, the paired difference and its interval within the task.
        profiles: None where fewer than `TASKS` tasks have every level.
    """

    factor: Factor
    measure: Measure
    tasks: tuple[str, ...]
    standings: tuple[TaskedLevel, ...]
    agreement: float
    correlations: tuple[tuple[str, str, float], ...]
    by_task: pd.DataFrame
    profiles: Profiles | None


@dataclass(frozen=True)
class SideBySide:
    """A factor in several sweeps, each by itself; `factor` has the levels that all have.

    Attributes:
        differences: by sweep, each level against the reference with the sweep's own interval.
        means: by sweep, of each level in the factor's order.
        correlations: (sweep, sweep, Spearman's rho of their levels' means).
    """

    factor: Factor
    measure: Measure
    differences: dict[str, tuple[Difference, ...]]
    means: dict[str, tuple[float, ...]]
    correlations: tuple[tuple[str, str, float], ...]


def build(looks: Mapping[str, SweepView], *, path: str, reference: Any = None) -> Across | None:
    """The factor `path` over sweeps by name, one a task; None when fewer than two compare.

    `reference` is taken where all of them have that level.
    """
    met = _meet(looks, path=path, reference=reference)
    if met is None:
        return None
    factor, objective, y = met
    sign = 1.0 if objective.direction == "maximize" else -1.0
    return Across(
        factor,
        objective,
        tuple(y),
        tuple(standings(y, reference=factor.reference, sign=sign)),
        agreement(y),
        tuple(correlations(y)),
        _by_task(y, reference=factor.reference),
        profiles(y, lowest=sign < 0, least=TASKS),
    )


def side_by_side(looks: Mapping[str, SweepView], *, path: str) -> SideBySide | None:
    """The factor `path` in each sweep by itself; None when fewer than two can be compared.

    The sweeps need not be tasks of their own: nothing is taken over them.
    """
    met = _meet(looks, path=path)
    if met is None:
        return None
    factor, objective, y = met
    found = {name: tuple(_differences(looks[name], factor)) for name in y}
    means = {name: tuple(map(float, rows.mean(axis=1))) for name, rows in y.items()}
    return SideBySide(factor, objective, found, means, tuple(correlations(y)))


def _differences(view: SweepView, shared: Factor) -> list[Difference]:
    """The levels that all have against the reference, as the sweep's own report has them."""
    own = next(one for one in view.factors if one.path == shared.path)
    y = view.levels(view.objective, factor=own)
    if own.is_condition:
        found = paired(y, reference=shared.reference, direction=view.objective.direction)
    else:
        found = planned(view, y, factor=replace(own, reference=shared.reference))
    return [one for one in found if one.level in shared.levels]


def _meet(
    looks: Mapping[str, SweepView], *, path: str, reference: Any = None
) -> tuple[Factor, Measure, dict[str, pd.DataFrame]] | None:
    """The factor with the levels that all have, the objective, and each sweep's y[level, r]."""
    found = {
        name: (view, factor)
        for name, view in looks.items()
        for factor in view.factors
        if factor.path == path
    }
    if len(found) < 2:
        return None
    first, factor = next(iter(found.values()))
    objective = first.objective
    found = {name: one for name, one in found.items() if one[0].objective.name == objective.name}
    shared = [
        level for level in factor.levels if all(level in one.levels for _, one in found.values())
    ]
    if len(found) < 2 or len(shared) < 2:
        return None
    y = {
        name: _rows(view.levels(objective, factor=one), shared)
        for name, (view, one) in found.items()
    }
    wanted = [one for one in (reference, factor.reference) if one in shared]
    chosen = wanted[0] if wanted else shared[len(shared) // 2]
    return replace(factor, levels=tuple(shared), reference=chosen), objective, y


def _rows(y: pd.DataFrame, levels: Sequence[Any]) -> pd.DataFrame:
    """The rows of these levels, in this order."""
    place = {level: at for at, level in enumerate(y.index)}
    chosen = y.iloc[[place[level] for level in levels]]
    chosen.index = pd.Index(levels, dtype=object)
    return chosen


def standings(y: Mapping[str, pd.DataFrame], *, reference: Any, sign: float) -> list[TaskedLevel]:
    """Every level against `reference`; `sign` is -1 where lower is better."""
    levels = list(next(iter(y.values())).index)
    at = levels.index(reference)
    others = [place for place in range(len(levels)) if place != at]
    family = len(others)
    differences = {
        place: _over_tasks([_difference(one, place, at) for one in y.values()], family=family)
        for place in others
    }
    adjusted = dict(zip(others, holm([one.p for one in differences.values()]), strict=True))
    return [
        TaskedLevel(level, interquartile_mean(y, place), None, math.nan, math.nan, None, False)
        if place == at
        else _standing(y, level, (place, at), differences[place], float(adjusted[place]), sign)
        for place, level in enumerate(levels)
    ]


def _standing(
    y: Mapping[str, pd.DataFrame],
    level: Any,
    pair: tuple[int, int],
    difference: Estimate,
    p_holm: float,
    sign: float,
) -> TaskedLevel:
    place, at = pair
    shares = [
        probability_of_improvement(sign * _values(one, place), sign * _values(one, at))
        for one in y.values()
    ]
    wins = _shifted(_over_tasks([share - 0.5 for share in shares], family=1), 0.5)
    changes = [_difference(one, place, at) for one in y.values()]
    return TaskedLevel(
        level,
        interquartile_mean(y, place),
        difference,
        p_holm,
        wilcoxon(changes),
        wins,
        adopt=wins.known and wins.low > 0.5 and wins.value > ADOPT,
    )


def _values(y: pd.DataFrame, place: int) -> np.ndarray:
    row = y.iloc[place].to_numpy(dtype=float)
    return row[np.isfinite(row)]


def _difference(y: pd.DataFrame, place: int, at: int) -> float:
    """The mean paired difference within a task; NaN without a complete pair."""
    d = (y.iloc[place] - y.iloc[at]).to_numpy(dtype=float)
    d = d[np.isfinite(d)]
    return float(d.mean()) if len(d) else math.nan


def _over_tasks(values: Sequence[float], *, family: int) -> Estimate:
    """The t interval over tasks; a point alone below `TASKS` of them."""
    one = mean_interval(values, family=family)
    one = replace(one, method=one.method.replace("replicates", "tasks"))
    if one.n >= TASKS:
        return one
    note = f"{one.n} tasks; an interval needs {TASKS}"
    return replace(one, low=math.nan, high=math.nan, p=math.nan, note=note)


def _shifted(one: Estimate, by: float) -> Estimate:
    """A share: the estimate moved by a constant, its interval cut at 0 and 1."""
    low, high = float(np.clip(one.low + by, 0, 1)), float(np.clip(one.high + by, 0, 1))
    return replace(one, value=one.value + by, low=low, high=high)


def interquartile_mean(y: Mapping[str, pd.DataFrame], place: int) -> float:
    """The mean of the middle half of all values of a level, over tasks and replicates."""
    values = np.concatenate([_values(one, place) for one in y.values()])
    return float(stats.trim_mean(values, 0.25)) if len(values) else math.nan


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """P(a > b) + P(a = b) / 2 over all pairs of a (n,) and b (m,); NaN when either is empty."""
    if not len(a) or not len(b):
        return math.nan
    return float((np.sign(a[:, None] - b[None, :]) + 1).mean() / 2)


def wilcoxon(changes: Sequence[float]) -> float:
    """The exact signed-rank p over tasks, two-sided; NaN below `TASKS` changes that are not 0."""
    d = np.array([one for one in changes if math.isfinite(one) and one != 0])
    if len(d) < TASKS:
        return math.nan
    _, p = stats.wilcoxon(d, method="exact")
    return float(np.asarray(p))


def apart(
    one: Mapping[int, float], two: Mapping[int, float], *, paired: bool, family: int
) -> Estimate:
    """How far the numbers by replicate of two sweeps lie apart, `one` minus `two`.

    `paired`: the sweeps share their data, so a replicate's draws are the same in both; otherwise
    Welch's interval of two independent means. n is that of the smaller.
    """
    if paired:
        return mean_interval([one[r] - two[r] for r in one if r in two], family=family)
    a, b = (np.array(list(values.values()), dtype=float) for values in (one, two))
    n = min(len(a), len(b))
    if n < LEAST or not (a.std() > 0 or b.std() > 0):
        return mean_interval([float(a.mean() - b.mean())] if n else [], family=family)
    test: Any = stats.ttest_ind(a, b, equal_var=False)
    low, high = map(float, test.confidence_interval(1 - (1 - LEVEL) / family))
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    method = f"{LEVEL:.0%} Welch t interval, simultaneous over {family}"
    p, value = float(test.pvalue), float(a.mean() - b.mean())
    return Estimate(value, low, high, error, n, p, family, method)


def correlations(y: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, float]]:
    """Spearman's rho of the levels' means, for every pair of tasks."""
    ranks = _ranks(y)
    return [(one, two, _rho(ranks[one], ranks[two])) for one, two in combinations(ranks, 2)]


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.ptp(a) and np.ptp(b)):
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(y: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Each task's ranks of the levels' means (a,), ties shared; NaN where a level has no run."""
    means = {name: one.mean(axis=1).to_numpy(dtype=float) for name, one in y.items()}
    return {name: stats.rankdata(one, nan_policy="propagate") for name, one in means.items()}


def agreement(y: Mapping[str, pd.DataFrame]) -> float:
    """Kendall's W, ties corrected: 12 S / (T^2 (a^3 - a) - T sum(t^3 - t))."""
    ranks = np.array(list(_ranks(y).values()))
    if not np.isfinite(ranks).all():
        return math.nan
    tasks, levels = ranks.shape
    totals = ranks.sum(axis=0)
    spread = float(((totals - totals.mean()) ** 2).sum())
    ties = sum(
        float((counts**3 - counts).sum())
        for counts in (np.unique(one, return_counts=True)[1].astype(float) for one in ranks)
    )
    room = tasks**2 * (levels**3 - levels) - tasks * ties
    return 12 * spread / room if room > 0 else math.nan


def _by_task(y: Mapping[str, pd.DataFrame], *, reference: Any) -> pd.DataFrame:
    """One row a task and level, with the interval within the task."""
    rows = []
    for name, one in y.items():
        at = list(one.index).index(reference)
        for place, level in enumerate(one.index):
            d = (one.iloc[place] - one.iloc[at]).to_numpy(dtype=float)
            within = mean_interval(d, family=len(one) - 1)
            known = place != at
            rows.append(
                {
                    "task": name,
                    "level": level,
                    "mean": float(one.iloc[place].mean()),
                    "n": within.n,
                    "difference": within.value,
                    "low": within.low if known else math.nan,
                    "high": within.high if known else math.nan,
                    "method": within.method,
                }
            )
    frame = pd.DataFrame(rows)
    frame["level"] = pd.Series([row["level"] for row in rows], dtype=object)
    return frame
