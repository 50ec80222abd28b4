"""Several objectives and constraints: which cells satisfy, and which are in the Pareto set.

All of it is chosen on the objective's split, val where there is one; the numbers on test stand
beside it. A cell is within noise of the front unless another cell is better in every objective, by
the tables of all pairs. No cell that is truly in the front is left out more often than in 5 of 100
sweeps: to leave it out, an interval of an objective in which it is not worse must miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis import effects
from sweeper.analysis.factors import Factor, is_condition
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import Estimate, mean_interval
from sweeper.analysis.measures import Measure, objective, responses
from sweeper.analysis.view import SweepView
from sweeper.spec.goals import Constraint, constraint

MOST = 400  # cells; every pair of them is compared


@dataclass(frozen=True)
class JudgedCell:
    """A cell with all of its replicates.

    Attributes:
        chosen: each objective where cells are chosen.
        reported: the same on test.
        satisfies: whether each constraint's metric, as a mean, is within its bound.
        apart: its conditions; cells under others are not compared with it.
        front: whether no other cell's means are as good in all objectives and better in one.
        near: whether it is within noise of the front.
    """

    cell: int
    chosen: tuple[Estimate, ...]
    reported: tuple[Estimate, ...]
    satisfies: tuple[bool, ...]
    apart: tuple[Any, ...]
    front: bool = False
    near: bool = False

    @property
    def allowed(self) -> bool:
        return all(self.satisfies)


@dataclass(frozen=True)
class Goals:
    """The objectives, the constraints, and all cells with the most complete replicates."""

    objectives: tuple[Measure, ...]
    constraints: tuple[Constraint, ...]
    candidates: tuple[JudgedCell, ...]
    split: str
    n: int


def constraints_of(spec: dict[str, Any]) -> tuple[Constraint, ...]:
    """The constraints of a stored spec."""
    return tuple(constraint(metric, text) for metric, text in spec.get("constraints", {}).items())


def objectives_of(frames: Frames, *, split: str) -> tuple[Measure, ...]:
    """The objectives of a stored spec, on a split."""
    spec = frames.sweep.spec
    named = spec.get("objectives") or [spec["objective"]]
    found = (objective({**spec, "objective": one}) for one in named)
    return tuple(replace(one, key=(split, one.name, "")) for one in found)


def satisfied(
    frames: Frames, bounds: Sequence[Constraint], *, cells: Sequence[int]
) -> pd.DataFrame:
    """Whether each cell (row) satisfies each constraint (column), by its mean on val."""
    found = {at: _within(one, _bounded(frames, one, cells)) for at, one in enumerate(bounds)}
    return pd.DataFrame(found, index=pd.Index(cells, name="cell"))


def broken(view: SweepView, factor: Factor) -> list[tuple[Constraint, ...]]:
    """The constraints that each level of a factor breaks, by its mean where the question asks."""
    bounds = constraints_of(view.frames.sweep.spec)
    table = []
    for one in bounds:
        y = _bounded(view.frames, one, view.comparable.compared)
        levels = effects.over_levels(y, cells=view.frames.cells, factor=factor, held=view.held)
        table.append(_within(one, levels))
    return [
        tuple(one for one, within in zip(bounds, table, strict=True) if not within[at])
        for at in range(len(factor.levels))
    ]


def _bounded(frames: Frames, one: Constraint, cells: Sequence[int]) -> pd.DataFrame:
    """The metric of a constraint, as it is: y[cell, replicate]."""
    measure = Measure(one.metric, one.metric, (frames.split, one.metric, ""), "", "maximize")
    return responses(frames, measure=measure, cells=cells)


def _within(one: Constraint, y: pd.DataFrame) -> list[bool]:
    """Whether the mean of each row is within the bound."""
    return [one.excess(float(mean)) <= 0 for mean in y.mean(axis=1)]


def build(view: SweepView) -> Goals | None:
    """The cells by all objectives and constraints; None where the spec has neither."""
    frames, spec = view.frames, view.frames.sweep.spec
    bounds = constraints_of(spec)
    if not (spec.get("objectives") or bounds):
        return None
    measures = objectives_of(frames, split=frames.split)
    tables = [responses(frames, measure=one, cells=view.comparable.cells) for one in measures]
    counts = np.min([table.notna().sum(axis=1).to_numpy() for table in tables], axis=0)
    n = int(counts.max()) if len(counts) else 0
    if not n:
        return None
    cells = [cell for cell, count in zip(tables[0].index, counts, strict=True) if count == n]
    tables = [table.loc[cells] for table in tables]
    tested = [
        responses(frames, measure=one, cells=cells) for one in objectives_of(frames, split="test")
    ]
    does = satisfied(frames, bounds, cells=cells)
    paths = [path for path in frames.question.factors if is_condition(path)]
    found = [
        JudgedCell(
            cell,
            tuple(_estimate(table, cell) for table in tables),
            tuple(_estimate(table, cell) for table in tested),
            tuple(bool(one) for one in does.loc[cell]) if bounds else (),
            tuple(frames.cells["factors"][cell].get(path) for path in paths),
        )
        for cell in cells
    ]
    return Goals(measures, bounds, tuple(_fronts(view, found, measures, tables)), frames.split, n)


def _estimate(table: pd.DataFrame, cell: int) -> Estimate:
    return mean_interval(table.loc[cell].to_numpy(dtype=float))


def _fronts(
    view: SweepView,
    found: Sequence[JudgedCell],
    measures: Sequence[Measure],
    tables: Sequence[pd.DataFrame],
) -> list[JudgedCell]:
    """The candidates, with the front of the allowed ones at each condition."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for one in found:
        if one.allowed:
            groups.setdefault(one.apart, []).append(one.cell)
    front, near = set[int](), set[int]()
    for cells in groups.values():
        means = [
            _sign(one) * t.loc[cells].mean(axis=1).to_numpy()
            for one, t in zip(measures, tables, strict=True)
        ]
        front |= {cells[at] for at in np.flatnonzero(~_passed(np.stack(means, axis=1)))}
        near |= set(_near(view, cells, measures, tables))
    return [replace(c, front=c.cell in front, near=c.cell in front | near) for c in found]


def _sign(measure: Measure) -> float:
    return 1.0 if measure.direction == "maximize" else -1.0


def _passed(means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows another row equals or passes in all columns, and passes in one."""
    ahead = means[:, None] - means[None]  # [d, c]: d minus c
    passes = (ahead >= 0).all(axis=2) & (ahead > 0).any(axis=2)
    return np.logical_or.reduce(passes, axis=0)


def _near(
    view: SweepView,
    cells: Sequence[int],
    measures: Sequence[Measure],
    tables: Sequence[pd.DataFrame],
) -> list[int]:
    """The cells that no other cell is shown to beat in every objective."""
    if len(cells) == 1 or len(cells) > MOST:
        return list(cells)
    shown = np.logical_and.reduce(
        [
            view.rule.pairs(table.loc[list(cells)], direction=one.direction).low > 0
            for one, table in zip(measures, tables, strict=True)
        ]
    )
    return [cell for at, cell in enumerate(cells) if not shown[:, at].any()]


def rows(found: Goals | None) -> list[dict[str, Any]]:
    """Each cell's objectives on both splits, its constraints, and its place."""
    if found is None:
        return []
    return [
        {
            "cell": one.cell,
            "n": found.n,
            **_numbers(found, found.split, one.chosen),
            **(_numbers(found, "test", one.reported) if found.split != "test" else {}),
            "satisfies": one.allowed,
            "pareto": one.front,
            "within_noise": one.near,
        }
        for one in found.candidates
    ]


def _numbers(found: Goals, split: str, values: Sequence[Estimate]) -> dict[str, float]:
    named = zip(found.objectives, values, strict=True)
    return {
        f"{split}_{measure.name}{end}": number
        for measure, one in named
        for end, number in (("", one.value), ("_low", one.low), ("_high", one.high))
    }
