"""The response curve: raw replicates, and the mean with its interval at each level."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sweeper.analysis import effects
from sweeper.analysis.view import SweepView


@dataclass(frozen=True)
class Response:
    """The curve; both tables are empty where the cells are no grid.

    Attributes:
        points: measure, x, by, replicate, value: the raw replicates.
        curve: measure, x, by, n, mean, sd, low, high ...: the means.
    """

    points: pd.DataFrame
    curve: pd.DataFrame


def build(view: SweepView) -> Response:
    """The points of the curve and their means, for every measure."""
    if not view.grid:
        return Response(pd.DataFrame(), pd.DataFrame())
    points, means = [], []
    for measure in view.measures if view.x else ():
        for level, held in view.lines():
            y = view.levels(measure, factor=view.x, at=held)  # pyright: ignore[reportArgumentType]
            for x, row in zip(y.index, (y.iloc[at] for at in range(len(y))), strict=True):
                key = {"measure": measure.name, "x": x, "by": level}
                seen = row.dropna()
                points += [{**key, "replicate": r, "value": value} for r, value in seen.items()]
                means.append({**key, **effects.spread(row.to_numpy(dtype=float))})
    columns = pd.Index(["measure", "x", "by", "replicate", "value"])
    return Response(
        effects.as_written(pd.DataFrame(points, columns=columns), rows=points, columns=["x", "by"]),
        effects.as_written(pd.DataFrame(means), rows=means, columns=["x", "by"]),
    )
