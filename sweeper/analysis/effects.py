"""Cells (2.1), paired differences against a reference level (2.2), failures and collapse (2.3).

Letters: i a cell or level, r a replicate, R their number, a the number of levels. y[i, r] is a
frame with one row an i, one column an r, NaN where no run is complete.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweeper.analysis.factors import Factor, combination
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import (
    Estimate,
    clopper_pearson,
    mean_interval,
    mean_intervals,
    sign_flip,
)
from sweeper.analysis.measures import Measure, responses
from sweeper.states import RunState

ROBUST = 1.4826  # MAD to sd, under the normal law
FAR = 5.0  # robust sds below its cell: collapsed


@dataclass(frozen=True)
class Difference:
    """A level against the reference level, within replicates.

    Attributes:
        p_adjusted: p of the estimate times its family, at most 1 (Bonferroni).
        by_replicate: replicate -> y[level, r] - y[reference, r], complete blocks only.
        dropped: planned replicates that lack one of the two.
        improves: share of replicates in which the level is better.
        correlation: of the two levels over replicates; NaN below three.
        p_sign: by flipping signs, of the difference on its own; NaN below six replicates.
    """

    level: Any
    reference: Any
    estimate: Estimate
    p_adjusted: float
    by_replicate: dict[int, float]
    dropped: tuple[int, ...]
    improves: float
    correlation: float
    p_sign: float


def marginal(y: pd.DataFrame, *, cells: pd.DataFrame, paths: Sequence[str]) -> pd.DataFrame:
    """y over the combinations of `paths`: index tuples of levels, the mean over all other factors.

    A replicate in which one of the cells averaged is missing is NaN: complete blocks only.
    """
    factors = cells["factors"].to_dict()
    rows: dict[tuple[Any, ...], list[int]] = {}
    for at, cell in enumerate(y.index):
        rows.setdefault(combination(factors[cell], paths=paths), []).append(at)
    numbers = y.to_numpy(dtype=float)
    means = np.array([numbers[places].mean(axis=0) for places in rows.values()])
    index = pd.Index(list(rows), dtype=object, tupleize_cols=False)
    return pd.DataFrame(means.reshape(len(rows), len(y.columns)), index=index, columns=y.columns)


def over_levels(
    y: pd.DataFrame,
    *,
    cells: pd.DataFrame,
    factor: Factor,
    held: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """y[level, r] of one factor, averaged over the others but those `held` (path -> level)."""
    fixed = {path: level for path, level in (held or {}).items() if path != factor.path}
    if fixed:
        factors = cells["factors"].to_dict()
        y = y[
            [
                all(factors[cell].get(path) == level for path, level in fixed.items())
                for cell in y.index
            ]
        ]
    frame = marginal(y, cells=cells, paths=[factor.path])
    place = {key[0]: at for at, key in enumerate(frame.index)}
    frame = frame.iloc[[place[level] for level in factor.levels]]
    frame.index = pd.Index(factor.levels, dtype=object)
    return frame


def paired(y: pd.DataFrame, *, reference: Any, direction: str) -> list[Difference]:
    """Each level against `reference`: simultaneous t intervals, each pair with its own variance.

    `mean(d) +- T(1 - .05 / (2k), R - 1) sd(d) / sqrt(R)` with k = a - 1; p times k beside it.
    """
    rows = dict(zip(y.index, y.to_numpy(dtype=float), strict=True))
    base = rows.pop(reference)
    others, replicates = list(rows), [int(r) for r in y.columns]
    sign = 1.0 if direction == "maximize" else -1.0
    found = [
        _difference(row, base=base, replicates=replicates, family=len(rows), sign=sign)
        for row in rows.values()
    ]
    return [
        Difference(
            level=level,
            reference=reference,
            p_adjusted=min(one["estimate"].p * one["estimate"].family, 1.0),
            **one,
        )
        for level, one in zip(others, found, strict=True)
    ]


def _difference(
    row: np.ndarray, *, base: np.ndarray, replicates: Sequence[int], family: int, sign: float
) -> dict[str, Any]:
    seen = np.isfinite(row) & np.isfinite(base)
    one, two = row[seen], base[seen]
    d = one - two
    kept = [r for r, there in zip(replicates, seen, strict=True) if there]
    varied = len(d) >= 3 and one.std() > 0 and two.std() > 0
    return {
        "estimate": mean_interval(d, family=family),
        "by_replicate": dict(zip(kept, map(float, d), strict=True)),
        "dropped": tuple(r for r, there in zip(replicates, seen, strict=True) if not there),
        "improves": float((sign * d > 0).mean()) if len(d) else float("nan"),
        "correlation": float(np.corrcoef(one, two)[0, 1]) if varied else float("nan"),
        "p_sign": sign_flip(d),
    }


def cell_table(
    frames: Frames, *, cells: Sequence[int], measures: Sequence[Measure], factors: Sequence[str]
) -> pd.DataFrame:
    """One row a cell and measure: n, mean and spread, interval; failures, updates and time."""
    levels = frames.cells["factors"].to_dict()
    ends = frames.curves.groupby("run")["step"].max()
    seen = frames.runs.assign(step=ends.reindex(frames.runs.index))
    columns = [seen[name].tolist() for name in ("state", "ending", "step", "seconds")]
    runs: dict[int, list[_RunEnd]] = defaultdict(list)
    for cell, *end in zip(seen["cell"].tolist(), *columns, strict=True):
        runs[cell].append(_RunEnd(*end))
    facts = {cell: _cell_facts(cell, levels[cell], runs[cell], factors) for cell in cells}
    rows = []
    for measure in measures:
        y = responses(frames, measure=measure, cells=cells)
        for cell, found in zip(cells, spreads(y.to_numpy(dtype=float)), strict=True):
            rows.append({**facts[cell], "measure": measure.name, **found})
    return as_written(pd.DataFrame(rows), rows=rows, columns=factors)


def as_written(
    frame: pd.DataFrame, *, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> pd.DataFrame:
    """`frame` with levels as they are: pandas would turn None to NaN and 2 to 2.0."""
    for name in columns if rows else ():
        frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    return frame


def spreads(y: np.ndarray) -> list[dict[str, Any]]:
    """n, mean, sd, min, median, max and the t interval of each row of y (N, R), without NaN."""
    return [_spread(row, one) for row, one in zip(y, mean_intervals(y), strict=True)]


def _spread(y: np.ndarray, one: Estimate) -> dict[str, Any]:
    seen = y[np.isfinite(y)]
    order = np.quantile(seen, [0.0, 0.5, 1.0]) if len(seen) else [np.nan] * 3
    return {
        "n": one.n,
        "mean": one.value,
        "sd": one.sd,
        "min": float(order[0]),
        "median": float(order[1]),
        "max": float(order[2]),
        "low": one.low,
        "high": one.high,
        "method": one.method,
        "note": one.note,
    }


def rank_correlations(
    table: pd.DataFrame, *, measure: Measure, factors: Sequence[Factor]
) -> dict[str, float]:
    """Spearman's rho of each numeric factor with the cells' means, the strongest first.

    A description: cells drawn one by one differ in every factor at once. Factors without one
    (words, fewer than four cells, no spread) are left out.
    """
    rows = table[table["measure"] == measure.name].dropna(subset=["mean"]) if len(table) else table
    found: dict[str, float] = {}
    for one in factors if len(rows) >= 4 else ():
        if one.scale == "category" or rows["mean"].nunique() < 2 or rows[one.path].nunique() < 2:
            continue
        levels = rows[one.path].astype(float)
        found[one.path] = float(levels.rank().corr(rows["mean"].rank()))
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))


class _RunEnd(NamedTuple):
    """How a run ended, for `cell_table`."""

    state: str
    ending: str | None
    step: float
    seconds: float


def _cell_facts(
    cell: int, levels: Mapping[str, Any], runs: Sequence[_RunEnd], factors: Sequence[str]
) -> dict[str, Any]:
    states = Counter(run.state for run in runs)
    ended = (RunState.FAILED, RunState.PRUNED)
    why = Counter(str(run.ending) for run in runs if run.state in ended)
    complete = [run for run in runs if run.state == RunState.COMPLETE]
    return {
        "cell": cell,
        **{path: levels.get(path) for path in factors},
        "runs": len(runs),
        "complete": states[RunState.COMPLETE],
        "failed": states[RunState.FAILED],
        "pruned": states[RunState.PRUNED],
        "why": ", ".join(f"{count} {reason}" for reason, count in sorted(why.items())),
        "updates": _median(run.step for run in complete),
        "seconds": _median(run.seconds for run in complete),
    }


def _median(values: Iterable[float]) -> float:
    """NaN without values."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


@dataclass(frozen=True)
class FailureShare:
    """How often the runs of a cell fail, with its exact interval (Clopper-Pearson)."""

    cell: int
    failed: int
    ended: int
    low: float
    high: float


def failure_shares(frames: Frames, *, cells: Sequence[int]) -> list[FailureShare]:
    """The share of failed runs among those that ended; none failed of 5 still allows 45 %."""
    counts = Counter(zip(frames.runs["cell"], frames.runs["state"], strict=True))
    interval = cache(lambda failed, n: clopper_pearson(failed, n=n, one_sided=failed == 0))
    shares = []
    for cell in cells:
        failed = counts[cell, RunState.FAILED]
        ended = failed + counts[cell, RunState.COMPLETE]
        shares.append(FailureShare(cell, failed, ended, *interval(failed, ended)))
    return shares


def collapsed(y: pd.DataFrame, *, direction: str, chance: float | None) -> pd.DataFrame:
    """Which y[i, r] collapsed: at or below chance, or 5 robust sds worse than its cell's median.

    The robust sd is 1.4826 times the median absolute residual, pooled over all cells (without
    one a cell: else a third of the healthy sweeps of three replicates are flagged). Collapsed runs
    are flagged and kept; they are never averaged away in silence.
    """
    worse = -1.0 if direction == "maximize" else 1.0
    residual = worse * y.sub(y.median(axis=1), axis=0)
    # The smallest of each cell, 0 for an odd n, went into its median: it says nothing of spread.
    pooled = np.sort(np.abs(residual.to_numpy(dtype=float)), axis=1)[:, 1:]
    pooled = pooled[np.isfinite(pooled)]
    scale = ROBUST * float(np.median(pooled)) if len(pooled) else 0.0
    flags = residual > FAR * scale if scale > 0 else residual > np.inf
    if chance is not None and direction == "maximize":
        flags |= y <= chance
    return flags


def at_chance(y: pd.DataFrame, *, runs: pd.DataFrame, chance: float) -> tuple[pd.DataFrame, int]:
    """y with each failed run at chance level, and how many were filled in."""
    filled, count = y.copy(), 0
    for cell, replicate in _failed(runs, cells=y.index):
        if replicate in filled.columns and np.isnan(filled.loc[cell, replicate]):
            filled.loc[cell, replicate] = chance
            count += 1
    return filled, count


def _failed(runs: pd.DataFrame, *, cells: Sequence[Hashable] | pd.Index) -> list[tuple[Any, Any]]:
    failed = runs[(runs["state"] == RunState.FAILED) & runs["cell"].isin(list(cells))]
    return list(zip(failed["cell"], failed["replicate"], strict=True))
