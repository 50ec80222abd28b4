"""The cells: n, mean, spread and interval of each on every measure (statistics 2.1)."""

from __future__ import annotations

import pandas as pd

from sweeper.analysis import effects
from sweeper.analysis.view import SweepView


def build(view: SweepView) -> pd.DataFrame:
    """One row a cell and measure."""
    spec = view.frames.sweep.spec
    paths = [*view.frames.question.factors, *(spec.get("nuisance") or {})]
    return effects.cell_table(
        view.frames, cells=view.comparable.cells, measures=view.measures, factors=paths
    )


def ranks(view: SweepView) -> dict[str, float]:
    """The rank correlation of each numeric factor with the objective; empty on a grid."""
    if view.grid:
        return {}
    return effects.rank_correlations(view.of(build), measure=view.objective, factors=view.factors)
