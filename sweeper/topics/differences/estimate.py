"""Each level against the reference level, within replicates (statistics 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sweeper.analysis import comparable, effects
from sweeper.analysis.effects import Difference, as_written
from sweeper.analysis.factors import Factor, show, strongest
from sweeper.analysis.intervals import as_row
from sweeper.analysis.measures import Measure
from sweeper.analysis.verdicts import Verdict
from sweeper.analysis.view import SweepView
from sweeper.states import RunState
from sweeper.topics.failures.estimate import collapse_flags
from sweeper.topics.fairness.estimate import judged


@dataclass(frozen=True)
class Effect:
    """One factor's levels against its reference, on one measure.

    Conditions are held where the question asks, unless `held` is at another level `at`. `verdicts`
    is empty where the differences are exploratory.
    """

    factor: Factor
    measure: Measure
    held: Factor | None
    at: Any
    differences: tuple[Difference, ...]
    condition: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def where(self) -> str:
        """What is held, in words."""
        return f"{self.held.name} {show(self.at)}" if self.held else self.condition


@dataclass(frozen=True)
class WithFailures:
    """The primary differences once more, with each failed run counted at chance level."""

    filled: int
    effect: Effect


@dataclass(frozen=True)
class Differences:
    """Every paired difference; all are empty where the cells are no grid.

    Attributes:
        primary: the objective, each choice at the condition in question; read off its table of
            all pairs.
        exploratory: conditions, the axis at each level of the second factor, the other measures.
        with_failures: the primary differences with failed runs counted at chance level.
        without_collapsed: the primary differences without the collapsed runs; empty when none.
    """

    primary: tuple[Effect, ...] = ()
    exploratory: tuple[Effect, ...] = ()
    with_failures: tuple[WithFailures, ...] = ()
    without_collapsed: tuple[Effect, ...] = ()


def build(view: SweepView) -> Differences:
    """All of them; verdicts that rest on a pick at the edge of its range are withheld."""
    if not view.grid:
        return Differences()
    return Differences(
        primary=tuple(_primary(view)),
        exploratory=tuple(_exploratory(view)),
        with_failures=tuple(_with_failures(view)),
        without_collapsed=tuple(_without_collapsed(view)),
    )


def _plain(
    view: SweepView,
    *,
    factor: Factor,
    measure: Measure,
    held: Factor | None = None,
    at: Any = None,
) -> Effect:
    """Exploratory differences: simultaneous over the levels, and no verdict."""
    y = view.levels(measure, factor=factor, at=None if held is None else (held, at))
    found = effects.paired(y, reference=factor.reference, direction=measure.direction)
    condition = "" if held is not None else _where(view, factor)
    return Effect(factor, measure, held, at, tuple(found), condition)


def _where(view: SweepView, factor: Factor) -> str:
    named = [one for one in view.factors if one.path in view.held and one is not factor]
    return ", ".join(f"{one.name} {show(view.held[one.path])}" for one in named) or "mean over all"


def _judged(view: SweepView, y: pd.DataFrame, *, factor: Factor, priced: bool = True) -> Effect:
    """Differences read off the table of all pairs of y[level, r], with their verdicts."""
    found = planned(view, y, factor=factor)
    settled = judged(view, [view.verdict(one.estimate, priced=priced) for one in found])
    return Effect(factor, view.objective, None, None, tuple(found), _where(view, factor), settled)


def planned(view: SweepView, y: pd.DataFrame, *, factor: Factor) -> list[Difference]:
    """The differences from the reference in the table of all pairs of y[level, r]."""
    pairs = view.pairs(factor, y=y)
    complete, direction = y.dropna(axis=1), view.objective.direction
    missing = tuple(int(r) for r in y.columns.difference(complete.columns))
    found = []
    for one in effects.paired(complete, reference=factor.reference, direction=direction):
        estimate = pairs.estimate(one.level, factor.reference)
        p = min(estimate.p * estimate.family * pairs.shares, 1.0)
        found.append(replace(one, estimate=estimate, p_adjusted=p, dropped=missing))
    return found


def _primary(view: SweepView) -> Iterator[Effect]:
    for factor in view.choices:
        yield _judged(view, view.levels(view.objective, factor=factor), factor=factor)


def _exploratory(view: SweepView) -> Iterator[Effect]:
    for factor in view.factors:
        if factor.is_condition:
            yield _plain(view, factor=factor, measure=view.objective)
    x, by = view.x, view.by
    if x is None:
        return
    for measure in view.measures:
        if measure is not view.objective:
            yield _plain(view, factor=x, measure=measure)
        for level in by.levels if by is not None else ():
            held = by is not None and by.path in view.held and view.held[by.path] == level
            if not held:
                yield _plain(view, factor=x, measure=measure, held=by, at=level)


def _without_collapsed(view: SweepView) -> Iterator[Effect]:
    objective = view.objective
    flags = collapse_flags(view, objective)
    if not flags.to_numpy().any():
        return
    y = view.responses[objective.name].where(~flags).loc[list(view.comparable.compared)]
    for factor in view.choices:
        levels = effects.over_levels(y, cells=view.frames.cells, factor=factor, held=view.held)
        yield _judged(view, levels, factor=factor, priced=False)


def _with_failures(view: SweepView) -> Iterator[WithFailures]:
    objective = view.objective
    share = objective.unit == "points" and objective.direction == "maximize"
    if not share or view.chance is None:
        return
    frames, pruned = view.frames, {RunState.PRUNED}
    paths = list(frames.question.factors)
    cells, _ = comparable.whole_levels(
        frames, cells=view.comparable.cells, paths=paths, lost=pruned
    )
    y = view.responses[objective.name].loc[list(cells)]
    filled, count = effects.at_chance(y, runs=frames.reported_runs, chance=view.chance)
    if not count:
        return
    factors = comparable.scientific(frames, cells=cells)
    held = strongest(factors)
    for factor in factors:
        if not factor.is_condition:
            levels = effects.over_levels(filled, cells=frames.cells, factor=factor, held=held)
            yield WithFailures(count, _judged(view, levels, factor=factor, priced=False))


def rows(found: Differences) -> pd.DataFrame:
    """Every paired difference as a row; `family` and `primary` say how it is to be read."""
    listed = []
    for primary, group in ((True, found.primary), (False, found.exploratory)):
        for effect in group:
            verdicts = effect.verdicts or [None] * len(effect.differences)
            for one, verdict in zip(effect.differences, verdicts, strict=True):
                listed.append(
                    {
                        "primary": primary,
                        "factor": effect.factor.path,
                        "measure": effect.measure.name,
                        "unit": effect.measure.unit,
                        "held": effect.held.path if effect.held else None,
                        "at": effect.at,
                        "level": one.level,
                        "reference": one.reference,
                        **as_row(one.estimate),
                        "p_adjusted": one.p_adjusted,
                        "p_sign": one.p_sign,
                        "improves": one.improves,
                        "correlation": one.correlation,
                        "dropped": len(one.dropped),
                        "verdict": verdict.badge if verdict else "",
                    }
                )
    levels = ["at", "level", "reference"]
    return as_written(pd.DataFrame(listed), rows=listed, columns=levels)
