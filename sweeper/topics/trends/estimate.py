"""Average changes with each step of a factor, and whether they depend on the second (2.3).

Exploratory: a slope answers another question than which level to take, so it has no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sweeper.analysis import effects, trend
from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.intervals import Estimate, as_row
from sweeper.analysis.measures import Measure
from sweeper.analysis.stopping import Fixed
from sweeper.analysis.trend import Interaction, Trend
from sweeper.analysis.view import SweepView


@dataclass(frozen=True)
class Slope:
    """A numeric factor's trend on one measure: where the question asks, and at each level of `by`.

    `by` is the second factor; `lines` has the other levels of a condition, all of a choice.
    """

    factor: Factor
    measure: Measure
    overall: Trend
    condition: str
    lines: tuple[Trend, ...] = ()
    interaction: Interaction | None = None


@dataclass(frozen=True)
class Dependence:
    """A factor in words: each level's difference at `strong` minus that at `weak`."""

    factor: Factor
    by: Factor
    measure: Measure
    reference: Any
    weak: Any
    strong: Any
    levels: tuple[Any, ...]
    estimates: tuple[Estimate, ...]  # simultaneous over the levels


@dataclass(frozen=True)
class Trends:
    """What changes with each step of a factor; both are empty where the cells are no grid.

    `dependence` is the interaction where the axis has no slope.
    """

    slopes: tuple[Slope, ...] = ()
    dependence: Dependence | None = None


def build(view: SweepView) -> Trends:
    """Slopes and interactions."""
    if not view.grid:
        return Trends()
    return Trends(tuple(_slopes(view)), _dependence(view))


def _slopes(view: SweepView) -> Iterator[Slope]:
    for factor in view.factors:
        if factor.scale == "category" or factor.is_condition:
            continue
        for measure in view.measures if factor is view.x else view.measures[:1]:
            yield _slope(view, factor=factor, measure=measure)


def _slope(view: SweepView, *, factor: Factor, measure: Measure) -> Slope:
    overall, by = _trend(view, measure, factor=factor), view.by
    if factor is not view.x or by is None:
        return Slope(factor, measure, overall, view.condition)
    lines = {level: _trend(view, measure, factor=factor, at=(by, level)) for level in by.levels}
    weak, strong = _weak_and_strong(by)
    change = _change(view, lines[weak], lines[strong])
    shown = tuple(line for level, line in lines.items() if view.held.get(by.path) != level)
    return Slope(factor, measure, overall, view.condition, shown, change)


def _trend(
    view: SweepView, measure: Measure, *, factor: Factor, at: tuple[Factor, Any] | None = None
) -> Trend:
    """A line's slope, with the stopping rule's interval: the slope decided whether to continue."""
    y = view.levels(measure, factor=factor, at=at)
    line = trend.trend(y, factor=factor, at=at[1] if at else None)
    if isinstance(view.rule, Fixed):
        return line
    return replace(line, estimate=view.rule.interval(line.by_replicate))


def _change(view: SweepView, weak: Trend, strong: Trend) -> Interaction:
    change = trend.interaction(weak, strong=strong)
    if isinstance(view.rule, Fixed):
        return change
    shared = weak.by_replicate.keys() & strong.by_replicate.keys()
    d = {r: strong.by_replicate[r] - weak.by_replicate[r] for r in sorted(shared)}
    return replace(change, estimate=view.rule.interval(d))


def _dependence(view: SweepView) -> Dependence | None:
    x, by, objective = view.x, view.by, view.objective
    if x is None or by is None or x.scale != "category":
        return None
    weak, strong = _weak_and_strong(by)
    ends = [
        effects.paired(
            view.levels(objective, factor=x, at=(by, level)),
            reference=x.reference,
            direction=objective.direction,
        )
        for level in (weak, strong)
    ]
    changes = [
        {
            r: two.by_replicate[r] - value
            for r, value in one.by_replicate.items()
            if r in two.by_replicate
        }
        for one, two in zip(*ends, strict=True)
    ]
    estimates = tuple(view.rule.interval(change, family=len(changes)) for change in changes)
    levels = tuple(one.level for one in ends[0])
    return Dependence(x, by, objective, x.reference, weak, strong, levels, estimates)


def _weak_and_strong(by: Factor) -> tuple[Any, Any]:
    """The two ends of the second factor: for the train ratio, the strongest imbalance is last."""
    if by.is_condition and by.scale != "category":
        weak = by.levels[-1] if by.strongest == by.levels[0] else by.levels[0]
        return weak, by.strongest
    if by.scale == "category":
        return by.reference, next(one for one in reversed(by.levels) if one != by.reference)
    return by.levels[0], by.levels[-1]


def rows(found: Trends) -> pd.DataFrame:
    """Every slope and interaction as a row."""
    listed = list(_dependence_rows(found.dependence))
    for one in found.slopes:
        key = {
            "factor": one.factor.path,
            "measure": one.measure.name,
            "unit": one.measure.unit,
            "per": one.factor.step,
        }
        for line in (one.overall, *one.lines):
            listed.append({**key, "kind": "slope", "at": line.at, **as_row(line.estimate)})
        if one.interaction is not None:
            at = f"{one.interaction.strong} minus {one.interaction.weak}"
            listed.append(
                {**key, "kind": "interaction", "at": at, **as_row(one.interaction.estimate)}
            )
    return as_written(pd.DataFrame(listed), rows=listed, columns=["at"])


def _dependence_rows(one: Dependence | None) -> Iterator[dict[str, Any]]:
    if one is None:
        return
    for level, estimate in zip(one.levels, one.estimates, strict=True):
        yield {
            "factor": one.factor.path,
            "measure": one.measure.name,
            "unit": one.measure.unit,
            "per": f"{show(level)} against {show(one.reference)}",
            "kind": "interaction",
            "at": f"{one.strong} minus {one.weak}",
            **as_row(estimate),
        }
