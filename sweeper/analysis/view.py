"""One sweep as every topic reads it: each measure's responses, the factors, and the axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from sweeper.analysis import comparable, effects
from sweeper.analysis import cost as price
from sweeper.analysis import stopping as precision
from sweeper.analysis.comparable import Comparable, Comparison, scientific
from sweeper.analysis.cost import Costs
from sweeper.analysis.factors import Factor, axes, show, strongest
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEAST, Estimate
from sweeper.analysis.measures import POINTS, Measure, measures, responses
from sweeper.analysis.pairs import Pairs
from sweeper.analysis.stopping import Rule
from sweeper.analysis.verdicts import Verdict, judge
from sweeper.states import FINISHED

T = TypeVar("T")


@dataclass(frozen=True)
class SweepView:
    """The sweep as every topic reads it.

    Attributes:
        responses: measure's name -> y[cell, replicate], NaN where no run is complete.
        measures: the objective first.
        x, by: the axis of the response curve, and the factor whose levels are its lines.
    """

    frames: Frames
    comparable: Comparable
    measures: tuple[Measure, ...]
    responses: dict[str, pd.DataFrame]
    factors: tuple[Factor, ...]
    x: Factor | None
    by: Factor | None
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, build: Callable[[SweepView], T]) -> T:
        """What `build` makes of this sweep; it is made once."""
        if build not in self._made:
            self._made[build] = build(self)
        return self._made[build]

    @property
    def grid(self) -> bool:
        """Whether levels can be compared within replicates."""
        return self.comparable.comparison is Comparison.PAIRED

    @property
    def choices(self) -> tuple[Factor, ...]:
        """The factors that a user chooses; all others are conditions."""
        return tuple(one for one in self.factors if not one.is_condition)

    @property
    def question(self) -> Factor | None:
        """The factor whose levels the answer compares; None where only conditions vary."""
        return next((one for one in (self.x, *self.choices) if one in self.choices), None)

    @cached_property
    def held(self) -> dict[str, Any]:
        """Each condition at the level that the question is about: path -> level."""
        return strongest(self.factors)

    @cached_property
    def asked(self) -> tuple[int, ...]:
        """The cells that are compared where the question asks."""
        factors, held = self.frames.cells["factors"], self.held.items()
        return tuple(one for one in self.comparable.compared if held <= factors[one].items())

    @cached_property
    def to_come(self) -> int:
        """How many runs have not ended yet; while there are any, no verdict is given."""
        runs = self.frames.reported_runs
        runs = runs if len(runs) else self.frames.runs
        return int((~runs["state"].isin(list(FINISHED))).sum())

    @cached_property
    def blocks(self) -> int:
        """The complete blocks: replicates that have every run where the question asks."""
        y = self.responses[self.objective.name].loc[list(self.asked)]
        return int(y.notna().all(axis=0).sum()) if len(y) else 0

    @property
    def early(self) -> bool:
        """Whether runs are to come and too few blocks are complete for any comparison."""
        scattered = self.comparable.comparison is Comparison.SCATTER
        return self.to_come > 0 and self.blocks < LEAST and not scattered

    @property
    def condition(self) -> str:
        """`train ratio 0.05`: where levels are compared; empty without a condition."""
        named = [one for one in self.factors if one.path in self.held]
        return ", ".join(f"{one.name} {show(self.held[one.path])}" for one in named)

    @property
    def others(self) -> tuple[Factor, ...]:
        """The choices that the curve averages over."""
        return tuple(one for one in self.choices if one is not self.x and one is not self.by)

    @property
    def replicates(self) -> int:
        """The largest number of complete replicates that a cell has."""
        counts = (int(y.notna().sum(axis=1).max()) for y in self.responses.values() if len(y))
        return max(counts, default=0)

    def verdict(self, estimate: Estimate, *, priced: bool = True) -> Verdict:
        """The verdict on a difference in the objective; `priced` adds what more would cost."""
        found = judge(estimate, direction=self.objective.direction, margin=self.margin)
        return self.costs.priced(found, estimate=estimate) if priced else found

    @property
    def margin(self) -> float | None:
        """The difference in the objective that does not matter; a loss has none."""
        return precision.margin_of(self.objective)

    @property
    def objective(self) -> Measure:
        return self.measures[0]

    def lines(self) -> list[tuple[Any, tuple[Factor, Any] | None]]:
        """The lines of the curve: the second factor's levels, or one over all."""
        if self.by is None:
            return [(None, None)]
        return [(level, (self.by, level)) for level in self.by.levels]

    def levels(
        self, measure: Measure, *, factor: Factor, at: tuple[Factor, Any] | None = None
    ) -> pd.DataFrame:
        """y[level, r] of a factor, the mean over the other choices.

        Conditions are held where the question asks; `at` holds a further factor, or another level.
        """
        y = self.responses[measure.name].loc[list(self.comparable.compared)]
        held = {**self.held, at[0].path: at[1]} if at else self.held
        return effects.over_levels(y, cells=self.frames.cells, factor=factor, held=held)

    def pairs(self, factor: Factor, *, y: pd.DataFrame | None = None) -> Pairs:
        """The table of all pairs of a factor's levels on the objective, as planned."""
        table = self.levels(self.objective, factor=factor) if y is None else y
        found = self.rule.pairs(table, direction=self.objective.direction, factor=factor.path)
        return found.within(POINTS) if self.objective.bounded else found

    @cached_property
    def rule(self) -> Rule:
        """How the number of replicates was planned; intervals of the primary family follow it."""
        replicates = int(self.frames.reported_runs["replicate"].nunique())
        return precision.rule_of(self.frames.sweep, replicates=replicates)

    @cached_property
    def costs(self) -> Costs:
        return price.costs(self.frames, rule=self.rule)

    @property
    def guessing(self) -> float | None:
        """What guessing scores on the objective; None where that is no accuracy."""
        accuracy = self.objective.bounded and self.objective.direction == "maximize"
        return self.chance if accuracy else None

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, in points; None if the classes are not known."""
        if self.frames.own_trainer:
            return None
        return POINTS / max(len(self.frames.sweep.facts.get("classes", ())), 1)


def view_of(frames: Frames) -> SweepView:
    """The view of a sweep; cells are compared only where they form a grid."""
    found = comparable.comparable_cells(frames)
    grid, listed = found.comparison is Comparison.PAIRED, measures(frames)
    factors = scientific(frames, cells=found.compared if grid else found.cells)
    table = {one.name: responses(frames, measure=one, cells=found.cells) for one in listed}
    return SweepView(frames, found, listed, table, factors, *axes(factors))
