"""One sweep as every analysis sees it: each measure's responses, the factors, and the axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.analysis import effects
from sweeper.analysis.comparable import Gate
from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import POINTS, Measure


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

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in points."""
        return POINTS / max(len(self.frames.sweep.facts.get("classes", ())), 1)
