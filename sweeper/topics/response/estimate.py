"""The response curve: raw replicates, and the mean with its interval at each level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.analysis import effects
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView


@dataclass(frozen=True)
class Response:
    """The curve; both tables are empty where the cells are no grid.

    While runs are to come, points are single runs of cells, and means are of complete blocks: the
    replicates that have every run of a line.

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
            whole = y.dropna(axis=1) if view.to_come else y
            spreads = effects.spreads(whole.to_numpy(dtype=float))
            for at, x in enumerate(y.index):
                key = {"measure": measure.name, "x": x, "by": level}
                rows = _single(view, measure, key) if view.to_come else [y.iloc[at]]
                points += [
                    {**key, "replicate": r, "value": value}
                    for row in rows
                    for r, value in row.dropna().items()
                ]
                means.append({**key, **spreads[at]})
    columns = pd.Index(["measure", "x", "by", "replicate", "value"])
    return Response(
        effects.as_written(pd.DataFrame(points, columns=columns), rows=points, columns=["x", "by"]),
        effects.as_written(pd.DataFrame(means), rows=means, columns=["x", "by"]),
    )


def _single(view: SweepView, measure: Measure, key: dict[str, Any]) -> Iterator[pd.Series]:
    """The runs of each cell at a point of the curve."""
    y = view.responses[measure.name]
    for place in view.of(_places).get((key["by"], key["x"]), ()):
        yield y.iloc[place]


def _places(view: SweepView) -> dict[tuple[Any, Any], list[int]]:
    """The rows of the responses at each point of the curve, by its line and its level."""
    assert view.x is not None  # noqa: S101  the caller looked
    held = {path: level for path, level in view.held.items() if path not in _drawn(view)}
    factors, compared = view.frames.cells["factors"].to_dict(), set(view.comparable.compared)
    found: dict[tuple[Any, Any], list[int]] = {}
    for place, cell in enumerate(view.responses[view.objective.name].index):
        levels = factors[cell]
        if cell in compared and held.items() <= levels.items():
            by = levels.get(view.by.path) if view.by else None
            found.setdefault((by, levels.get(view.x.path)), []).append(place)
    return found


def _drawn(view: SweepView) -> set[str]:
    """The factors of the curve: its axis and its lines."""
    return {one.path for one in (view.x, view.by) if one is not None}
