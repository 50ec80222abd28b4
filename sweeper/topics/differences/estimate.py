"""Each level against the reference level, within replicates (statistics 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.analysis import comparable, effects, stopping
from sweeper.analysis.effects import Difference, as_written
from sweeper.analysis.factors import Factor, scientific, show
from sweeper.analysis.intervals import as_row
from sweeper.analysis.measures import Measure
from sweeper.analysis.stopping import PLAIN, Rule
from sweeper.analysis.verdicts import Verdict
from sweeper.analysis.view import SweepView
from sweeper.states import RunState
from sweeper.topics.failures.estimate import collapse_flags
from sweeper.topics.fairness.estimate import judged


@dataclass(frozen=True)
class Effect:
    """One factor's levels against its reference, on one measure.

    `at` is the level of the factor held (None: the mean over all other factors).
    """

    factor: Factor
    measure: Measure
    held: Factor | None
    at: Any
    differences: tuple[Difference, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def where(self) -> str:
        """What is held, in words."""
        return f"{self.held.name} {show(self.at)}" if self.held else "mean over all"


@dataclass(frozen=True)
class WithFailures:
    """The primary differences once more, with each failed run counted at chance level."""

    filled: int
    effect: Effect


@dataclass(frozen=True)
class Differences:
    """Every paired difference; all are empty where the cells are no grid.

    Attributes:
        primary: the objective, each factor over all others.
        exploratory: the axis at each level of the second factor, and the other measures.
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


def _effect(
    view: SweepView,
    y: pd.DataFrame,
    *,
    factor: Factor,
    measure: Measure,
    held: Factor | None = None,
    at: Any = None,
    rule: Rule = PLAIN,
    priced: bool = True,
) -> Effect:
    """`rule` makes the intervals, of the primary family; `priced` adds what would decide."""
    plain = effects.paired(y, reference=factor.reference, direction=measure.direction)
    found = stopping.follow(plain, rule=rule, factor=factor)
    verdicts = [view.verdict(one.estimate, measure=measure, priced=priced) for one in found]
    settled = judged(view, verdicts, held=held, at=at)
    return Effect(factor, measure, held, at, tuple(found), settled)


def _primary(view: SweepView) -> Iterator[Effect]:
    for factor in view.factors:
        y = view.levels(view.objective, factor=factor)
        yield _effect(view, y, factor=factor, measure=view.objective, rule=view.rule)


def _exploratory(view: SweepView) -> Iterator[Effect]:
    x = view.x
    if x is None:
        return
    for measure in view.measures:
        if measure is not view.objective:
            yield _effect(view, view.levels(measure, factor=x), factor=x, measure=measure)
        for level, at in view.lines() if view.by else ():
            y = view.levels(measure, factor=x, at=at)
            yield _effect(view, y, factor=x, measure=measure, held=view.by, at=level)


def _without_collapsed(view: SweepView) -> Iterator[Effect]:
    objective = view.objective
    flags = collapse_flags(view, objective)
    if not flags.to_numpy().any():
        return
    y = view.responses[objective.name].where(~flags).loc[list(view.comparable.compared)]
    for factor in view.factors:
        levels = effects.over_levels(y, cells=view.frames.cells, factor=factor)
        yield _effect(view, levels, factor=factor, measure=objective, rule=view.rule, priced=False)


def _with_failures(view: SweepView) -> Iterator[WithFailures]:
    objective = view.objective
    share = objective.unit == "points" and objective.direction == "maximize"
    if not share or view.chance is None:
        return
    frames, pruned = view.frames, {RunState.PRUNED}
    paths = list(frames.sweep.spec["scientific"])
    cells, _ = comparable.whole_levels(
        frames, cells=view.comparable.cells, paths=paths, lost=pruned
    )
    y = view.responses[objective.name].loc[list(cells)]
    filled, count = effects.at_chance(y, runs=frames.reported_runs, chance=view.chance)
    if not count:
        return
    for factor in scientific(frames, cells=cells):
        levels = effects.over_levels(filled, cells=frames.cells, factor=factor)
        effect = _effect(
            view, levels, factor=factor, measure=objective, rule=view.rule, priced=False
        )
        yield WithFailures(count, effect)


def rows(found: Differences) -> pd.DataFrame:
    """Every paired difference as a row; `family` and `primary` say how it is to be read."""
    listed = []
    for primary, group in ((True, found.primary), (False, found.exploratory)):
        for effect in group:
            for one, verdict in zip(effect.differences, effect.verdicts, strict=True):
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
                        "p_holm": one.p_holm,
                        "p_sign": one.p_sign,
                        "improves": one.improves,
                        "correlation": one.correlation,
                        "dropped": len(one.dropped),
                        "verdict": verdict.badge,
                    }
                )
    levels = ["at", "level", "reference"]
    return as_written(pd.DataFrame(listed), rows=listed, columns=levels)
