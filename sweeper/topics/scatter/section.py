"""The cells factor by factor, where they are no grid."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import (
    Figure,
    Section,
    axis,
    bars,
    beyond,
    count,
    numbers,
    text,
    unit_title,
)
from sweeper.topics.base import Topic
from sweeper.topics.cells.estimate import build


def panels(view: SweepView) -> list[Figure]:
    """Each factor against the objective: one point a cell, with its interval."""
    cells = view.of(build)
    rows = cells[cells["measure"] == view.objective.name] if len(cells) else None
    if rows is None or not view.factors:
        return []
    rows = rows.dropna(subset=["mean"])
    return [_scatter(view, rows, factor=factor, at=at) for at, factor in enumerate(view.factors)]


def _scatter(view: SweepView, rows: pd.DataFrame, *, factor: Factor, at: int) -> Figure:
    place = np.array([factor.position(level) for level in rows[factor.path]])
    place = place + _room(factor) * _spread_out(rows[factor.path])
    labels = [
        "<br>".join(f"{text(one.name)}: {text(show(row[one.path]))}" for one in view.factors)
        for _, row in rows.iterrows()
    ]
    objective = view.objective
    return Figure(
        f"scatter-{at}",
        f"{objective.title} over {factor.name} ({count(rows['n'])} a cell)",
        f"{objective.title} of each cell over {factor.name}; the other factors vary as well. "
        "The table of cells holds the same numbers.",
        [
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(place),
                "y": numbers(rows["mean"]),
                "text": labels,
                "hovertemplate": "%{y:.4g}<br>%{text}<extra></extra>",
                "showlegend": False,
                "marker": {"color": "@level0", "size": 8, "opacity": 0.85},
                "error_y": {
                    **bars(rows, bounded=objective.bounded, colour="@level0"),
                    "thickness": 1,
                },
            },
            *beyond(place, rows, bounded=objective.bounded, colour="@level0", name="cell"),
        ],
        {"xaxis": axis(factor), "yaxis": {"title": {"text": unit_title(objective)}}},
    )


def _room(factor: Factor) -> float:
    """How far cells of one level may stand apart: half the way to the next level."""
    near = float(np.diff(factor.positions).min())
    return 0.5 * near if near > 0.03 * float(np.ptp(factor.positions)) else 0.0


def _spread_out(levels: pd.Series) -> np.ndarray:
    """Cells of one level side by side, in the order of the table, within -0.5 to 0.5."""
    rank = levels.groupby(levels, dropna=False).cumcount().to_numpy(dtype=float)
    size = levels.groupby(levels, dropna=False).transform("size").to_numpy(dtype=float)
    return (rank + 0.5) / size - 0.5


def section(view: SweepView) -> Section | None:
    if view.comparable.comparison is not Comparison.SCATTER:
        return None
    drawn = panels(view)
    if not drawn:
        return None
    intro = (
        "Each mark is one cell: its mean over replicates on the test split, with a 95 % t interval "
        "where it has at least three. The other factors vary from mark to mark; this describes, "
        "it does not test."
    )
    title = "The cells, factor by factor"
    return Section("scatter", title, intro, tuple(drawn), layout="panels two")


TOPIC = Topic(section, short="By factor", open=True)
