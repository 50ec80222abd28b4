"""The whole answer of a sweep as data: what the page draws and what the export writes.

Nothing downstream computes a statistic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis import (
    absence,
    anatomy,
    anova,
    best,
    classes,
    comparable,
    effects,
    efficiency,
    examples,
    exchange,
    fairness,
    importance,
    precision,
    screening,
    trend,
)  # fmt: skip
from sweeper.analysis.absence import Absence
from sweeper.analysis.anatomy import Anatomy
from sweeper.analysis.anova import Anova
from sweeper.analysis.best import BestSet
from sweeper.analysis.classes import ByClass
from sweeper.analysis.comparable import Gate, Reading
from sweeper.analysis.effects import Difference
from sweeper.analysis.efficiency import Efficiency
from sweeper.analysis.examples import Changes
from sweeper.analysis.exchange import Exchange
from sweeper.analysis.factors import Factor, scientific, show
from sweeper.analysis.fairness import Fairness
from sweeper.analysis.frames import Frames
from sweeper.analysis.importance import Importance
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.look import Look, see
from sweeper.analysis.measures import Measure
from sweeper.analysis.precision import PLAIN, Fixed, Rule
from sweeper.analysis.price import Costs
from sweeper.analysis.screening import Screened
from sweeper.analysis.trend import Interaction, Trend
from sweeper.analysis.verdicts import MARGIN, Verdict, judge, withhold
from sweeper.analysis.withheld import Withheld
from sweeper.states import RunState


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
class Slope:
    """A numeric factor's trend on one measure, over all and at each level of the second factor."""

    factor: Factor
    measure: Measure
    overall: Trend
    verdict: Verdict
    lines: tuple[Trend, ...]
    interaction: Interaction | None
    interaction_verdict: Verdict | None


@dataclass(frozen=True)
class Dependence:
    """Of a factor in words: each level's difference at `strong` minus that at `weak`."""

    by: Factor
    measure: Measure
    reference: Any
    weak: Any
    strong: Any
    levels: tuple[Any, ...]
    estimates: tuple[Estimate, ...]  # simultaneous over the levels
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Collapse:
    """A run whose measure fell to chance, or far below its cell."""

    cell: int
    replicate: int
    measure: Measure
    value: float
    mean: float  # of all runs of the cell
    without: float  # of those that did not collapse; NaN where all did


@dataclass(frozen=True)
class WithFailures:
    """The primary differences once more, with each failed run counted at chance level."""

    filled: int
    effect: Effect


@dataclass(frozen=True)
class Answer:
    """Everything that the report says."""

    gate: Gate
    objective: Measure
    measures: tuple[Measure, ...]
    factors: tuple[Factor, ...]
    x: Factor | None
    by: Factor | None
    cells: pd.DataFrame  # 2.1: one row a cell and measure
    ranks: dict[str, float]  # without a grid: each numeric factor's rank correlation
    points: pd.DataFrame  # measure, x, by, replicate, value: the raw replicates of the curve
    curve: pd.DataFrame  # measure, x, by, n, mean, sd, low, high ...: the curve
    effects: tuple[Effect, ...]  # primary: the objective, each factor over all others
    effects_at: tuple[Effect, ...]  # x at each level of `by`, and the other measures: exploratory
    slopes: tuple[Slope, ...]
    dependence: Dependence | None  # the interaction where the axis has no slope
    failures: tuple[effects.FailureShare, ...]
    collapses: tuple[Collapse, ...]
    with_failures: tuple[WithFailures, ...]
    without_collapsed: tuple[Effect, ...]  # the primary effects once more; empty when none
    chance: float | None  # what guessing scores on the objective; None where it is no accuracy
    best: tuple[BestSet, ...] = ()  # each factor, then the axis at each level of `by`
    anova: Anova | Withheld | None = None  # on a grid of two factors or more
    importance: Importance | Withheld | None = None  # where the cells are no grid
    fairness: Fairness | None = None  # how cells were tuned; verdicts are withheld by it
    classes: ByClass | None = None
    exchange: Exchange | None = None
    absence: Absence | None = None
    rule: Rule = PLAIN  # by which the number of replicates was planned
    efficiency: Efficiency | None = None
    anatomy: Anatomy | None = None  # error bars by source; where single answers are recorded
    screened: Screened | None = None  # which of many cells were left, where that was the plan
    changes: tuple[Changes, ...] = ()  # test examples that change, at each level of `by`

    @property
    def others(self) -> tuple[Factor, ...]:
        """The factors that the curve averages over."""
        return tuple(one for one in self.factors if one is not self.x and one is not self.by)

    @property
    def replicates(self) -> int:
        """The largest number of complete replicates that a cell has."""
        return int(self.cells["n"].max()) if len(self.cells) else 0


def answer(frames: Frames) -> Answer:
    """The sweep's answer, as far as its runs allow."""
    look = see(frames)
    gate, listed, factors = look.gate, look.measures, look.factors
    grid = gate.reading is Reading.PAIRED
    points, curve = _curve(look, listed) if grid else (pd.DataFrame(), pd.DataFrame())
    paths = [*frames.sweep.spec.get("scientific", {}), *(frames.sweep.spec.get("nuisance") or {})]
    cells = effects.cell_table(frames, cells=gate.cells, measures=listed, factors=paths)
    primary = tuple(_primary(look, listed[0])) if grid else ()
    others = tuple(_exploratory(look, listed)) if grid else ()
    collapses = tuple(_collapses(look, listed))
    screened = screening.build(look)
    found = Answer(
        gate=gate, objective=listed[0], measures=listed, factors=factors,
        x=look.x, by=look.by, cells=cells,
        ranks={} if grid else effects.rank_correlations(cells, measure=listed[0], factors=factors),
        points=points,
        curve=curve,
        effects=primary,
        effects_at=others,
        slopes=tuple(_slopes(look, listed)) if grid else (),
        dependence=_dependence(look, listed[0]) if grid else None,
        failures=tuple(effects.failure_shares(frames, cells=gate.cells)),
        collapses=collapses,
        with_failures=tuple(_with_failures(look, listed[0])) if grid else (),
        without_collapsed=tuple(_without_collapsed(look, listed[0])) if grid else (),
        chance=look.chance if listed[0].bounded and listed[0].direction == "maximize" else None,
        best=best.build(look) if grid else (),
        anova=anova.build(look),
        # Of cells that are left because they are good, a model of all would be wrong.
        importance=importance.build(look) if screened is None else None,
        fairness=_fairness(look, primary, collapses),
        classes=classes.build(look),
        exchange=exchange.build(look),
        absence=absence.build(look) if grid else None,
        efficiency=efficiency.build(look),
        anatomy=anatomy.build(look, told=_told((*primary, *others))),
        changes=examples.build(look),
        rule=look.rule,
        screened=screened,
    )  # fmt: skip
    return _withheld(found, look=look)


def _told(listed: Sequence[Effect]) -> dict[anatomy.Key, Estimate]:
    """The intervals of the differences, by what `anatomy` calls them."""
    return {
        (one.measure.name, one.factor.path, one.held.path if one.held else None, one.at,
         difference.level): difference.estimate
        for one in listed
        for difference in one.differences
    }  # fmt: skip


def _fairness(
    look: Look, primary: Sequence[Effect], collapses: Sequence[Collapse]
) -> Fairness | None:
    objective = look.objective
    lost = {
        one.factor.path: len({r for difference in one.differences for r in difference.dropped})
        for one in primary
    }
    fallen = [(one.cell, one.replicate) for one in collapses if one.measure == objective]
    return fairness.build(look, dropped=lost, collapsed=fallen)


def _withheld(found: Answer, *, look: Look) -> Answer:
    """Without the verdicts that rest on a cell whose pick lies at the edge of its range."""
    fair, factors = found.fairness, look.frames.cells["factors"]
    if fair is None or not fair.at_edge(look.gate.compared):
        return found

    def why(held: Factor | None, at: Any) -> str:
        cells = [cell for cell in look.gate.compared
                 if held is None or factors[cell].get(held.path) == at]  # fmt: skip
        return fairness.edge_reason(fair.at_edge(cells))

    def judged(verdicts: Sequence[Verdict], reason: str) -> tuple[Verdict, ...]:
        return tuple(withhold(one, why=reason) if reason else one for one in verdicts)

    def effect(one: Effect) -> Effect:
        return replace(one, verdicts=judged(one.verdicts, why(one.held, one.at)))

    def slope(one: Slope) -> Slope:
        verdict = withhold(one.verdict, why=everywhere)
        change = one.interaction_verdict
        change = change and withhold(change, why=everywhere)
        return replace(one, verdict=verdict, interaction_verdict=change)

    everywhere, depends = why(None, None), found.dependence
    return replace(
        found,
        effects=tuple(map(effect, found.effects)),
        effects_at=tuple(map(effect, found.effects_at)),
        slopes=tuple(map(slope, found.slopes)),
        dependence=depends and replace(depends, verdicts=judged(depends.verdicts, everywhere)),
        with_failures=tuple(replace(one, effect=effect(one.effect)) for one in found.with_failures),
        without_collapsed=tuple(map(effect, found.without_collapsed)),
        best=tuple(replace(one, withheld=why(one.held, one.at)) for one in found.best),
    )


def margin_of(measure: Measure) -> float | None:
    return MARGIN if measure.unit == "points" else None


def _effect(
    y: pd.DataFrame,
    *,
    factor: Factor,
    measure: Measure,
    held: Factor | None = None,
    at: Any = None,
    rule: Rule = PLAIN,
    costs: Costs | None = None,
) -> Effect:
    """`rule` makes the intervals, of the primary family; `costs` price what is undecided."""
    plain = effects.paired(y, reference=factor.reference, direction=measure.direction)
    found = precision.follow(plain, rule=rule, factor=factor)
    judged = [_judge(one.estimate, measure=measure, costs=costs) for one in found]
    return Effect(factor, measure, held, at, tuple(found), tuple(judged))


def _judge(
    estimate: Estimate, *, measure: Measure, costs: Costs | None, span: float = 1.0
) -> Verdict:
    margin = margin_of(measure)
    verdict = judge(estimate, direction=measure.direction, margin=margin, span=span)
    return verdict if costs is None else costs.priced(verdict, estimate=estimate)


def _primary(look: Look, objective: Measure) -> Iterator[Effect]:
    for factor in look.factors:
        yield _effect(look.levels(objective, factor=factor), factor=factor, measure=objective,
                      rule=look.rule, costs=look.costs)  # fmt: skip


def _exploratory(look: Look, listed: Sequence[Measure]) -> Iterator[Effect]:
    if look.x is None:
        return
    for measure in listed:
        if measure is not listed[0]:
            y = look.levels(measure, factor=look.x)
            yield _effect(y, factor=look.x, measure=measure, costs=look.costs)
        for level, at in look.lines() if look.by else ():
            y = look.levels(measure, factor=look.x, at=at)
            yield _effect(y, factor=look.x, measure=measure, held=look.by, at=level,
                          costs=look.costs)  # fmt: skip


def _slopes(look: Look, listed: Sequence[Measure]) -> Iterator[Slope]:
    for factor in look.factors:
        if factor.scale == "category":
            continue
        for measure in listed if factor is look.x else listed[:1]:
            yield _slope(look, factor=factor, measure=measure)


def _slope(look: Look, *, factor: Factor, measure: Measure) -> Slope:
    overall = _trend(look, measure, factor=factor)
    span = float(factor.steps[-1] - factor.steps[0])
    verdict = _judge(overall.estimate, measure=measure, costs=look.costs, span=span)
    if factor is not look.x or look.by is None:
        return Slope(factor, measure, overall, verdict, (), None, None)
    lines = tuple(
        _trend(look, measure, factor=factor, at=(look.by, level)) for level in look.by.levels
    )
    weak, strong = _weak_and_strong(look.by)
    found = {line.at: line for line in lines}
    change = _change(look, found[weak], found[strong])
    judged = _judge(change.estimate, measure=measure, costs=look.costs, span=span)
    return Slope(factor, measure, overall, verdict, lines, change, judged)


def _trend(
    look: Look, measure: Measure, *, factor: Factor, at: tuple[Factor, Any] | None = None
) -> Trend:
    """A line's slope; its interval follows the rule, as whether the sweep went on did."""
    y = look.levels(measure, factor=factor, at=at)
    line = trend.trend(y, factor=factor, at=at[1] if at else None)
    if isinstance(look.rule, Fixed):
        return line
    return replace(line, estimate=look.rule.interval(line.by_replicate))


def _change(look: Look, weak: Trend, strong: Trend) -> Interaction:
    change = trend.interaction(weak, strong=strong)
    if isinstance(look.rule, Fixed):
        return change
    shared = weak.by_replicate.keys() & strong.by_replicate.keys()
    d = {r: strong.by_replicate[r] - weak.by_replicate[r] for r in sorted(shared)}
    return replace(change, estimate=look.rule.interval(d))


def _dependence(look: Look, objective: Measure) -> Dependence | None:
    x, by = look.x, look.by
    if x is None or by is None or x.scale != "category":
        return None
    weak, strong = _weak_and_strong(by)
    ends = [
        effects.paired(look.levels(objective, factor=x, at=(by, level)), reference=x.reference,
                       direction=objective.direction)
        for level in (weak, strong)
    ]  # fmt: skip
    changes = [
        {r: two.by_replicate[r] - value for r, value in one.by_replicate.items()
         if r in two.by_replicate}
        for one, two in zip(*ends, strict=True)
    ]  # fmt: skip
    estimates = tuple(look.rule.interval(change, family=len(changes)) for change in changes)
    verdicts = tuple(_judge(one, measure=objective, costs=look.costs) for one in estimates)
    levels = tuple(one.level for one in ends[0])
    return Dependence(by, objective, x.reference, weak, strong, levels, estimates, verdicts)


def _weak_and_strong(by: Factor) -> tuple[Any, Any]:
    """The two ends of the second factor: for the train ratio, the strongest imbalance is last."""
    if by.path.endswith("train_ratio"):
        return by.levels[-1], by.levels[0]
    if by.scale == "category":
        return by.reference, next(one for one in reversed(by.levels) if one != by.reference)
    return by.levels[0], by.levels[-1]


def _curve(look: Look, listed: Sequence[Measure]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The raw points of the response curve, and their means with intervals."""
    points, means = [], []
    for measure in listed if look.x else ():
        for level, held in look.lines():
            y = look.levels(measure, factor=look.x, at=held)  # pyright: ignore[reportArgumentType]
            for x, row in zip(y.index, (y.iloc[at] for at in range(len(y))), strict=True):
                key = {"measure": measure.name, "x": x, "by": level}
                seen = row.dropna()
                points += [{**key, "replicate": r, "value": value} for r, value in seen.items()]
                means.append({**key, **effects.spread(row.to_numpy(dtype=float))})
    columns = pd.Index(["measure", "x", "by", "replicate", "value"])
    return (
        effects.as_written(pd.DataFrame(points, columns=columns), rows=points, columns=["x", "by"]),
        effects.as_written(pd.DataFrame(means), rows=means, columns=["x", "by"]),
    )


def _collapses(look: Look, listed: Sequence[Measure]) -> Iterator[Collapse]:
    """Collapsed runs by class group; the gap has no chance level."""
    for measure in listed:
        if measure.role == "contrast":
            continue
        y = look.responses[measure.name]
        flags = _collapse_flags(look, measure).to_numpy()
        for i, j in np.argwhere(flags):
            cell, replicate = list(y.index)[i], list(y.columns)[j]
            row, healthy = y.to_numpy()[i], y.to_numpy()[i][~flags[i]]
            without = float(np.nanmean(healthy)) if np.isfinite(healthy).any() else np.nan
            yield Collapse(cell, replicate, measure, float(row[j]), float(np.nanmean(row)), without)


def _collapse_flags(look: Look, measure: Measure) -> pd.DataFrame:
    chance = look.chance if measure.bounded else None
    y = look.responses[measure.name]
    return effects.collapsed(y, direction=measure.direction, chance=chance)


def _without_collapsed(look: Look, objective: Measure) -> Iterator[Effect]:
    flags = _collapse_flags(look, objective)
    if not flags.to_numpy().any():
        return
    y = look.responses[objective.name].where(~flags).loc[list(look.gate.compared)]
    for factor in look.factors:
        levels = effects.over_levels(y, cells=look.frames.cells, factor=factor)
        yield _effect(levels, factor=factor, measure=objective, rule=look.rule)


def _with_failures(look: Look, objective: Measure) -> Iterator[WithFailures]:
    if not (objective.unit == "points" and objective.direction == "maximize"):
        return
    paths, pruned = list(look.frames.sweep.spec["scientific"]), {RunState.PRUNED}
    cells, _ = comparable.whole_levels(look.frames, cells=look.gate.cells, paths=paths, lost=pruned)
    y = look.responses[objective.name].loc[list(cells)]
    filled, count = effects.at_chance(y, runs=look.frames.reported_runs, chance=look.chance)
    if not count:
        return
    for factor in scientific(look.frames, cells=cells):
        levels = effects.over_levels(filled, cells=look.frames.cells, factor=factor)
        effect = _effect(levels, factor=factor, measure=objective, rule=look.rule)
        yield WithFailures(count, effect)
