"""A screening of many cells: which were left, and what their fresh replicates say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweeper.analysis.intervals import LEAST, Estimate, mean_interval
from sweeper.analysis.measures import POINTS, Measure
from sweeper.analysis.screening import Fate, Levels
from sweeper.analysis.stopping import stages_of
from sweeper.analysis.view import SweepView


@dataclass(frozen=True)
class ScreenedCell:
    """One cell: what it showed in screening, and on the fresh replicates where it has any.

    Attributes:
        mean: of the screening replicates on val, in the measure's unit; a point, no more.
        fresh: on test, over the fresh replicates alone.
        may_be_best: whether no other cell that was left beats it there; None where unknown.
    """

    levels: Levels
    fate: str
    by: Levels | None
    values: tuple[float, ...]
    lost: int
    stays: bool
    mean: float
    fresh: Estimate | None = None
    may_be_best: bool | None = None


@dataclass(frozen=True)
class Screened:
    """A screening, the cells that looked best in it first; no rows before it is decided."""

    measure: Measure
    screen: int
    confirm: int
    rows: tuple[ScreenedCell, ...]

    @property
    def left(self) -> tuple[ScreenedCell, ...]:
        return tuple(one for one in self.rows if one.stays)


def build(view: SweepView) -> Screened | None:
    """The screening of a sweep that was planned with one."""
    sweep, measure = view.frames.sweep, view.objective
    plan = sweep.spec.get("replicates")
    if not (isinstance(plan, Mapping) and "screen" in plan):
        return None
    kept = stages_of(sweep)
    names = Fate.__dataclass_fields__
    facts = (
        [Fate(**{name: one[name] for name in names}) for one in kept[-1]["facts"]] if kept else []
    )
    confirmed = _fresh(view)
    rows = [_row(one, measure=measure, confirmed=confirmed) for one in facts]
    sign = 1.0 if measure.direction == "maximize" else -1.0
    rows.sort(key=lambda one: -sign * one.mean if one.values else math.inf)
    return Screened(measure, plan["screen"], plan["confirm"], tuple(rows))


def _row(
    one: Fate, *, measure: Measure, confirmed: Sequence[tuple[Levels, Estimate, bool | None]]
) -> ScreenedCell:
    scale = POINTS if measure.unit == "points" else 1.0
    values = tuple(scale * value for value in one.values)
    mean = float(np.mean(values)) if values else math.nan
    row = ScreenedCell(one.levels, one.fate, one.by, values, one.lost, one.stays, mean)
    for levels, estimate, top in confirmed:
        if one.stays and one.levels.items() <= levels.items():
            return replace(row, fresh=estimate, may_be_best=top)
    return row


def _fresh(view: SweepView) -> list[tuple[Levels, Estimate, bool | None]]:
    """The reported cells: levels, mean, and whether they may be the best of those that are left."""
    table = view.responses[view.objective.name]
    y = table.to_numpy(dtype=float)
    beaten = view.rule.pairs(table, direction=view.objective.direction).beaten
    n, blocks = np.isfinite(y).sum(axis=-1), int(np.isfinite(y).all(axis=0).sum())
    return [
        (
            view.frames.cells["factors"][cell],
            mean_interval(y[at]),
            not bool(beaten[at]) if blocks >= LEAST else None,
        )
        for at, cell in enumerate(table.index)
        if n[at]
    ]


def rows(found: Screened | None) -> list[dict[str, Any]]:
    """Every cell as a row of a table: screening as points, the fresh block with its interval."""
    if found is None:
        return []
    nothing = mean_interval(np.empty(0))
    return [
        {
            **one.levels,
            "fate": one.fate,
            "measure": found.measure.name,
            "unit": found.measure.unit,
            "screening_n": len(one.values),
            "screening_mean": one.mean,
            "fresh_n": (at := one.fresh or nothing).n,
            "fresh_mean": at.value,
            "low": at.low,
            "high": at.high,
            "method": at.method if at.n else "",
            "may_be_best": one.may_be_best,
        }
        for one in found.rows
    ]
