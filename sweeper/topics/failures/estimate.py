"""Runs that failed, and runs that collapsed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.analysis import effects
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView


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
class Failures:
    """The share of failed runs of each cell, and each collapsed run."""

    shares: tuple[effects.FailureShare, ...]
    collapses: tuple[Collapse, ...]


def build(view: SweepView) -> Failures:
    """Both, for the cells that are reported."""
    shares = effects.failure_shares(view.frames, cells=view.comparable.cells)
    return Failures(tuple(shares), tuple(_collapses(view)))


def _collapses(view: SweepView) -> Iterator[Collapse]:
    """Collapsed runs by class group; the gap has no chance level."""
    for measure in view.measures:
        if measure.role == "contrast":
            continue
        y = view.responses[measure.name]
        flags = collapse_flags(view, measure).to_numpy()
        for i, j in np.argwhere(flags):
            cell, replicate = list(y.index)[i], list(y.columns)[j]
            row, healthy = y.to_numpy()[i], y.to_numpy()[i][~flags[i]]
            without = float(np.nanmean(healthy)) if np.isfinite(healthy).any() else np.nan
            yield Collapse(cell, replicate, measure, float(row[j]), float(np.nanmean(row)), without)


def collapse_flags(view: SweepView, measure: Measure) -> pd.DataFrame:
    """Which runs collapsed on a measure, as y[cell, replicate]."""
    chance = view.chance if measure.bounded else None
    y = view.responses[measure.name]
    return effects.collapsed(y, direction=measure.direction, chance=chance)
