"""One sweep as every analysis sees it: each measure's responses, the factors, and the axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from sweeper.analysis import comparable, effects, precision, price
from sweeper.analysis.comparable import Gate, Reading
from sweeper.analysis.factors import Factor, axes, scientific
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import POINTS, Measure, measures, responses
from sweeper.analysis.precision import Rule
from sweeper.analysis.price import Costs


@dataclass(frozen=True)
class Look:
    """What every analysis looks at.

    Attributes:
        responses: measure's name -> y[cell, replicate], NaN where no run is complete.
        measures: the objective first.
        x, by: the axis of the response curve, and the factor whose levels are its lines.
    """

    frames: Frames
    gate: Gate
    measures: tuple[Measure, ...]
    responses: dict[str, pd.DataFrame]
    factors: tuple[Factor, ...]
    x: Factor | None
    by: Factor | None

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
        y = self.responses[measure.name].loc[list(self.gate.compared)]
        return effects.over_levels(y, cells=self.frames.cells, factor=factor, at=at)

    @cached_property
    def rule(self) -> Rule:
        """How the number of replicates was planned; intervals of the primary family follow it."""
        replicates = int(self.frames.reported_runs["replicate"].nunique())
        return precision.rule_of(self.frames.sweep, replicates=replicates)

    @cached_property
    def costs(self) -> Costs:
        return price.costs(self.frames, rule=self.rule)

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in points."""
        return POINTS / max(len(self.frames.sweep.facts.get("classes", ())), 1)


def see(frames: Frames) -> Look:
    """The sweep as every analysis sees it; cells are compared only where they form a grid."""
    gate = comparable.gate(frames, paths=list(frames.sweep.spec.get("scientific", {})))
    grid, listed = gate.reading is Reading.PAIRED, measures(frames)
    factors = scientific(frames, cells=gate.compared if grid else gate.cells)
    table = {one.name: responses(frames, measure=one, cells=gate.cells) for one in listed}
    return Look(frames, gate, listed, table, factors, *axes(factors))
